// What a compression did, as one HTML page that explains itself and as JSON for tools.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compress/sensitivity.h"
#include "core/dtype.h"
#include "core/status.h"

namespace inkstone {

struct StoryTensor {
  std::string name;  // GGUF name
  DType source_type = DType::kBF16;
  uint64_t source_bytes = 0;
  DType type = DType::kF16;  // in the result
  uint64_t bytes = 0;
};

// A file that was made or could have been made.
struct StoryPoint {
  std::string label;      // "Q4_K" of a uniform file; empty for points of a curve
  uint64_t bytes = 0;     // of tensor data
  double divergence = 0;  // mean KL divergence from the source in nats
};

// The result beside the source on one text.
struct StoryQuality {
  std::string text;       // its name
  int64_t positions = 0;  // scored
  double source_perplexity = 0;
  double perplexity = 0;
  double kl_mean = 0;   // KL(source || result) in nats
  double kl_error = 0;  // standard error of the mean
  double kl_median = 0;
  double kl_p99 = 0;
  double top1_agreement = 0;  // share of positions where both prefer the same token
};

struct StoryAnswer {
  std::string prompt;
  std::string source;  // answer of the source
  std::string result;  // answer of the compressed model
};

struct StoryFact {
  std::string name;
  std::string value;
};

// Every part but the sizes may be empty: its section is then left out.
struct CompressionStory {
  std::string model;  // as a person calls it
  std::string output;
  int64_t parameters = 0;
  uint64_t source_bytes = 0;  // of tensor data
  uint64_t result_bytes = 0;  // of tensor data
  std::vector<StoryTensor> tensors;
  SensitivityTable sensitivity;
  std::vector<StoryPoint> frontier;            // predicted by the allocation, by ascending size
  std::optional<double> predicted_divergence;  // of this file
  std::vector<StoryPoint> uniform;             // files of one type, for comparison
  std::vector<StoryQuality> quality;
  std::vector<StoryAnswer> answers;
  std::vector<StoryFact> options;  // what was asked for, in the user's words
  int64_t calibration_tokens = 0;
  double seconds = 0;
};

// All texts as one, weighted by scored positions; median and p99, which do not combine, stay 0. `quality` is not empty.
StoryQuality Overall(const std::vector<StoryQuality>& quality);

// Writes one self-contained file: style, scripts, charts and ReportJson inside. It appears when it is complete.
// Errors: those of AtomicFile.
Status WriteHtmlReport(const std::string& path, const CompressionStory& story);

// The same data as one JSON object; numbers that are not finite are null, ill-formed UTF-8 becomes U+FFFD.
std::string ReportJson(const CompressionStory& story);

}  // namespace inkstone

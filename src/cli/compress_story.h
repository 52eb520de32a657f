// Everything that a report tells of a compression: measures the result beside its source and lets both answer.
#pragma once

#include <string>

#include "compress/calibrated.h"
#include "compress/report.h"
#include "core/status.h"
#include "core/thread_pool.h"

namespace inkstone {

struct StoryOptions {
  std::string source;
  std::string result;
  std::string text;  // what quality is measured on; no part of what calibration read
  std::string text_name;
  std::vector<StoryFact> asked;  // the options, in the user's words
  int threads = 0;
  std::string cpu;
  double seconds = 0;  // that compressing took
};

// `progress(done, total)` counts scored positions. Errors: those of loading and running the two models.
Result<CompressionStory> TellStory(const StoryOptions& options, const CalibratedReport& report,
                                   FunctionRef<void(uint64_t done, uint64_t total)> progress);

}  // namespace inkstone

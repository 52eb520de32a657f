// The requests of a load.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "loadgen/draws.h"
#include "loadgen/load_options.h"

namespace inkstone {

class Workload {
 public:
  // Reads the prompts' file where there is one. kNotFound, kDataLoss (naming the line), kInvalidArgument.
  static Result<Workload> Create(const WorkloadOptions& options);

  // The JSON body of request number `index`: a stream with usage, at temperature 0.
  std::string Body(uint64_t index) const;

  // What the requests are, for a report: "prompts of 64 to 2000 tokens (uniform), ...".
  std::string Describe() const;

 private:
  struct FilePrompt {
    std::string json;  // a list of messages, or a string
    bool messages = false;
    int64_t max_tokens = 0;  // 0: the options'
  };
  explicit Workload(const WorkloadOptions& options) : options_(options) {}
  Status ReadFile();
  Result<FilePrompt> ParseLine(std::string_view line) const;

  WorkloadOptions options_;
  std::string prefix_;  // the words that all share
  std::vector<FilePrompt> prompts_;
};

// `count` words of the generator, each a token of the usual vocabularies when a space stands before it.
std::string GenerateWords(Draws& draws, int64_t count);

}  // namespace inkstone

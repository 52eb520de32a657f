// What a load found out: counted as it goes, then a report.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "loadgen/attempt.h"
#include "loadgen/load_options.h"
#include "loadgen/sample_set.h"

namespace inkstone {

struct FailureCount {
  std::string kind;
  int64_t count = 0;
  std::string first;  // the first one's message
};

struct LoadReport {
  std::string url;       // with the endpoint's path
  std::string workload;  // Workload::Describe
  LoadOptions options;

  int64_t answered = 0;  // complete, with at least one token: the latencies are theirs
  int64_t empty = 0;     // complete, without a token
  int64_t failed = 0;
  int64_t hung_up = 0;                   // by --disconnect
  int64_t abandoned = 0;                 // under way when the load was stopped
  int64_t dropped = 0;                   // arrivals of an open loop that found too many requests in flight
  int64_t without_usage = 0;             // answered, tokens counted by the pieces of the stream
  int64_t several_per_piece = 0;         // answered, with more tokens than pieces
  int64_t good = 0;                      // answered within both limits
  std::vector<FailureCount> failures;    // by kind
  std::optional<Failure> first_failure;  // of all

  double seconds = 0;  // from the first request's start to the last one's end
  int64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;  // of answered requests
  Summary first_token;                                              // seconds
  Summary between_tokens;  // seconds between neighbouring pieces of an answer, all answers together
  Summary per_token;       // seconds between tokens, the mean of each answer
  Summary whole;           // seconds to the end of the answer
  double late_max = 0;     // open loop: seconds that a request was sent after it was due, at most
  double cpu_seconds = 0;  // that the load itself took

  double PerSecond(int64_t count) const { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }
  int64_t ended() const { return answered + empty + failed + hung_up + abandoned + dropped; }
  bool has_slo() const { return options.slo_ttft > 0 || options.slo_tbt > 0; }
};

class Tally {
 public:
  explicit Tally(LoadReport report) : report_(std::move(report)) {}

  void Add(const Attempt& attempt);
  void AddDropped() { ++report_.dropped; }
  void AddLateness(double seconds);
  // Mean seconds of the answers so far; `otherwise` before the first.
  double MeanSeconds(double otherwise) const { return whole_.count() == 0 ? otherwise : whole_.mean(); }
  int64_t ended() const { return report_.ended(); }

  LoadReport Finish(double seconds, double cpu_seconds) const;

 private:
  void AddAnswer(const Attempt& attempt);

  LoadReport report_;
  std::map<std::string, FailureCount> failures_;
  SampleSet first_, between_, per_token_, whole_;
};

// A table for a terminal.
std::string ReportTable(const LoadReport& report);
// One JSON object; times in seconds.
std::string ReportJson(const LoadReport& report);

}  // namespace inkstone

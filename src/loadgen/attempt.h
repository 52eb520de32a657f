// What one request came to.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "loadgen/answer_parser.h"

namespace inkstone {

struct Attempt {
  enum class Outcome {
    kAnswered,
    kFailed,     // `failure` says why
    kHungUp,     // by the load itself, as it was asked to
    kAbandoned,  // the load was stopped
  };
  Outcome outcome = Outcome::kFailed;
  std::optional<Failure> failure;
  double retry_after = 0;    // seconds that the server asked to wait
  double first = 0;          // seconds from when the request was due to the first piece of the answer
  double last = 0;           // to the last piece
  double end = 0;            // to the end of the answer, or of the attempt
  int64_t pieces = 0;        // events that carried some of the answer
  std::vector<double> gaps;  // seconds between neighbouring pieces
  std::optional<Usage> usage;

  int64_t output_tokens() const { return usage ? usage->completion : pieces; }
  // Seconds between tokens, mean of this answer; 0 for less than two tokens.
  double seconds_per_token() const {
    return output_tokens() > 1 && pieces > 1 ? (last - first) / static_cast<double>(output_tokens() - 1) : 0;
  }
};

}  // namespace inkstone

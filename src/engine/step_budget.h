// How much of a prompt one step may compute while other sequences wait for their next token.
//
// A prompt's chunk goes through the layers a few at a time, between decoding steps. Of a step that decodes, prompts
// have a given share at most (more, when more prompts wait than sequences decode), but one layer at least, and chunks
// are as long as one layer fits, 16 rows at least. Pure arithmetic.
#pragma once

#include <cstdint>

namespace inkstone {

struct StepLoad {
  int decoding = 0;  // sequences that wait for a token
  int pending = 0;   // with prompts to compute, those in the queue included
};

class StepBudget {
 public:
  // `share` of a step, at least 0 and below 1.
  explicit StepBudget(int64_t max_rows, double share)
      : max_rows_(max_rows), stretch_(share / (1 - share)), rows_(max_rows) {}

  // What a decoding step has taken.
  void OnDecode(double seconds);
  // A chunk of so many tokens begins; what one of its layers has taken.
  void OnChunk(int64_t rows);
  void OnLayer(double seconds);

  // Prompt tokens for the next chunk.
  int64_t ChunkRows(const StepLoad& load) const;
  // Whether one more layer fits into the step after `spent` seconds on layers.
  bool MayRunLayer(const StepLoad& load, double spent) const;
  // Seconds that a step may spend beside decoding.
  double Allowance(const StepLoad& load) const;

 private:
  int64_t max_rows_;
  double stretch_;             // of what decoding alone takes
  double decode_seconds_ = 0;  // a moving average; 0: none yet
  // Of the latest chunk. Its layers are not alike: the last one computes little but keys and values.
  int64_t rows_;
  int layers_ = 0;
  double layer_seconds_ = 0;  // in the mean; of the chunk before while layers_ is 0
};

}  // namespace inkstone

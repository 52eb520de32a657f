// How far one row of logits is from another, and what many rows say together.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace inkstone {

// One scored position. The last three fields have a meaning where there is a reference.
struct RowScore {
  double loss = 0;  // negative log-likelihood of the token that follows, nats
  double reference_loss = 0;
  double divergence = 0;  // KL(reference || model), nats
  bool same_top = false;  // both prefer the same token
};

// `logits` is (vocab), `next` the token that follows. A NaN or a positive infinity makes the loss not finite.
RowScore ScoreRow(std::span<const float> logits, int32_t next);
// The same with a reference, (vocab) too. Any logit that is not finite makes a result not finite.
RowScore ScoreRow(std::span<const float> logits, std::span<const float> reference, int32_t next);

// A mean with its standard error: sample deviation over the root of the count, positions taken as independent. The
// error is NaN for fewer than two values.
struct Estimate {
  double mean = 0;
  double error = 0;
};

// exp of an estimate, its error by the first order (delta method).
Estimate Exp(const Estimate& log);

struct Divergence {
  Estimate kl;  // KL(reference || model), nats
  double median = 0;
  double p99 = 0;
  Estimate top1_agreement;  // share of positions
  Estimate reference_loss;
  Estimate loss_difference;  // model minus reference at the same positions: their common ups and downs cancel
  Estimate ReferencePerplexity() const { return Exp(reference_loss); }
  Estimate PerplexityRatio() const { return Exp(loss_difference); }
};

struct Evaluation {
  int64_t scored = 0;
  Estimate loss;
  std::optional<Divergence> divergence;
  Estimate Perplexity() const { return Exp(loss); }
};

// Of at least one row. Quantiles are interpolated between neighbours.
Evaluation Summarize(std::span<const RowScore> rows, bool with_reference);

}  // namespace inkstone

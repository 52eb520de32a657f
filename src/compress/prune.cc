#include "compress/prune.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>

#include "compress/divergence.h"

namespace inkstone {
namespace {

// Of the sample, with the layers for which `removed` is false.
class PerplexityMeter {
 public:
  PerplexityMeter(LayerPass& pass, Runtime& runtime, const TextWindows& sample)
      : pass_(pass),
        threads_(runtime.threads()),
        sample_(sample),
        hidden_(static_cast<size_t>(sample.count() * sample.window * pass.config().hidden)),
        logits_(static_cast<size_t>(sample.window * pass.config().vocab)) {}

  Result<double> Measure(const std::vector<bool>& removed) {
    INK_RETURN_IF_ERROR(pass_.Embed(sample_, hidden_));
    for (int layer = 0; layer < pass_.config().layers; ++layer) {
      if (removed[static_cast<size_t>(layer)]) continue;
      INK_RETURN_IF_ERROR(pass_.RunLayer(layer, sample_, hidden_));
    }
    double loss = 0;
    const size_t window_values = static_cast<size_t>(sample_.window * pass_.config().hidden);
    for (int64_t w = 0; w < sample_.count(); ++w) {
      INK_RETURN_IF_ERROR(
          pass_.Logits(std::span(hidden_).subspan(static_cast<size_t>(w) * window_values, window_values), logits_));
      loss += WindowLoss(sample_.at(w));
    }
    return std::exp(loss / static_cast<double>(sample_.count() * (sample_.window - 1)));
  }

 private:
  // Sum of -log p of every token but the first.
  double WindowLoss(std::span<const int32_t> tokens) const {
    const size_t vocab = static_cast<size_t>(pass_.config().vocab);
    std::vector<double> losses(tokens.size() - 1);
    threads_.ParallelFor(static_cast<int64_t>(losses.size()), 1, [&](int64_t r, int64_t, int) {
      const size_t i = static_cast<size_t>(r);
      losses[i] = ScoreRow(std::span(logits_).subspan(i * vocab, vocab), tokens[i + 1]).loss;
    });
    return std::accumulate(losses.begin(), losses.end(), 0.0);
  }

  LayerPass& pass_;
  ThreadPool& threads_;
  const TextWindows& sample_;
  std::vector<float> hidden_, logits_;
};

std::string Percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", share * 100);
  return text;
}

}  // namespace

Result<PrunePlan> PlanPrune(LayerPass& pass, Runtime& runtime, const TextWindows& sample,
                            std::span<const double> influence, const PruneOptions& options) {
  const int layers = pass.config().layers;
  const int most = options.layers < 0 ? layers - 1 : options.layers;
  if (most >= layers) {
    return InvalidArgument("prune: the model has " + std::to_string(layers) + " layers, expected to remove at most " +
                           std::to_string(layers - 1) + ", found " + std::to_string(most));
  }
  std::vector<int> order(static_cast<size_t>(layers));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return influence[static_cast<size_t>(a)] < influence[static_cast<size_t>(b)]; });
  const ThreadBinding binding = runtime.threads().BindCaller();
  PerplexityMeter meter(pass, runtime, sample);
  std::vector<bool> removed(static_cast<size_t>(layers));
  PrunePlan plan;
  INK_ASSIGN_OR_RETURN(plan.perplexity_before, meter.Measure(removed));
  plan.perplexity_after = plan.perplexity_before;
  for (int i = 0; i < most; ++i) {
    removed[static_cast<size_t>(order[static_cast<size_t>(i)])] = true;
    INK_ASSIGN_OR_RETURN(const double perplexity, meter.Measure(removed));
    const double loss = perplexity / plan.perplexity_before - 1;
    if (loss > options.max_loss) {
      if (options.layers < 0) break;
      return InvalidArgument("prune: without " + std::to_string(i + 1) + " layers the perplexity grows by " +
                             Percent(loss) + ", above the limit of " + Percent(options.max_loss) + "; " +
                             std::to_string(i) + " layers cost " + Percent(plan.loss()) +
                             ": remove fewer, or allow a higher loss");
    }
    plan.perplexity_after = perplexity;
    plan.removed.push_back(order[static_cast<size_t>(i)]);
  }
  std::sort(plan.removed.begin(), plan.removed.end());
  return plan;
}

}  // namespace inkstone

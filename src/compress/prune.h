// Which layers a model can do without: those that change the residual stream least (block influence, Men et al. 2024,
// "ShortGPT"), as long as the loss that is measured without them stays within a limit.
#pragma once

#include <span>
#include <vector>

#include "compress/layer_pass.h"
#include "core/status.h"

namespace inkstone {

struct PruneOptions {
  int layers = -1;        // to remove; -1: as many as the limit allows
  double max_loss = 0.1;  // highest allowed growth of perplexity, as a share of it
};

struct PrunePlan {
  std::vector<int> removed;  // ascending
  double perplexity_before = 0;
  double perplexity_after = 0;
  double loss() const { return perplexity_after / perplexity_before - 1; }
};

// Measures on `sample`. Errors: kInvalidArgument when more layers are asked for than can be removed (one must stay), or
// when their loss is above the limit: says how many can go and what they cost.
Result<PrunePlan> PlanPrune(LayerPass& pass, Runtime& runtime, const TextWindows& sample,
                            std::span<const double> influence, const PruneOptions& options);

}  // namespace inkstone

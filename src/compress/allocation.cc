#include "compress/allocation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "core/units.h"

namespace inkstone {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 53;  // of one choice: sums of many stay within 64 bits
// Partial sums kept for finding the way back, 8 bytes each.
constexpr size_t kMaxStates = size_t{2} << 20;

// A choice that no other one of its item beats in both bytes and loss. Bytes and loss count from the item's smallest.
struct Option {
  size_t choice = 0;
  uint64_t bytes = 0;
  double loss = 0;    // 0 or negative: what the bytes buy
  double excess = 0;  // loss + price * bytes above the item's best, 0 or more
};
using Options = std::vector<Option>;  // ascending bytes, descending loss

Options Undominated(const std::vector<TypeChoice>& choices) {
  std::vector<size_t> order(choices.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return choices[a].bytes != choices[b].bytes ? choices[a].bytes < choices[b].bytes
                                                : choices[a].loss < choices[b].loss;
  });
  const TypeChoice& smallest = choices[order.front()];
  Options out;
  for (const size_t i : order) {
    const double loss = choices[i].loss - smallest.loss;
    if (out.empty() || loss < out.back().loss) out.push_back({i, choices[i].bytes - smallest.bytes, loss});
  }
  return out;
}

// One step up the lower convex hull of an item's options.
struct Step {
  size_t item = 0;
  size_t from = 0;  // options
  size_t to = 0;
  double price = 0;  // loss saved for each byte
};

double Price(const Option& from, const Option& to) {
  return (from.loss - to.loss) / static_cast<double>(to.bytes - from.bytes);
}

// Within an item prices fall, so that steps sorted by price keep an item's order.
void AddSteps(size_t item, const Options& options, std::vector<Step>* steps) {
  for (size_t at = 0; at + 1 < options.size();) {
    size_t best = at + 1;
    for (size_t to = at + 2; to < options.size(); ++to) {
      if (Price(options[at], options[to]) >= Price(options[at], options[best])) best = to;
    }
    steps->push_back({item, at, best, Price(options[at], options[best])});
    at = best;
  }
}

struct Solution {
  std::vector<size_t> chosen;  // option of each item
  uint64_t bytes = 0;
  double loss = 0;
};

class Knapsack {
 public:
  // `budget`: above the items' smallest choices.
  Knapsack(std::vector<Options> items, uint64_t budget) : items_(std::move(items)), budget_(budget) {}

  Solution Solve();

 private:
  struct State {
    uint64_t bytes = 0;
    double loss = 0;
    double excess = 0;
    uint32_t parent = 0;  // index in the stage before
    uint32_t option = 0;
  };
  struct Link {
    uint32_t parent = 0;
    uint32_t option = 0;
  };

  // A good solution, and the price of a byte at which the relaxed problem's budget runs out; 0 when it does not.
  Solution Greedy(double* price) const;
  // Repeats the upgrade of one item that saves most and fits, until none does.
  void Spend(Solution* solution) const;
  // The best solution with sizes rounded up to `unit`, or nullopt when kMaxStates do not suffice.
  std::optional<Solution> Search(uint64_t unit, double max_excess) const;
  void Extend(const std::vector<State>& stage, const Options& options, uint64_t unit, double max_excess,
              std::vector<State>* next) const;
  Solution Evaluate(std::vector<size_t> chosen) const;

  std::vector<Options> items_;
  uint64_t budget_;
};

Solution Knapsack::Evaluate(std::vector<size_t> chosen) const {
  Solution out{std::move(chosen)};
  for (size_t i = 0; i < items_.size(); ++i) {
    out.bytes += items_[i][out.chosen[i]].bytes;
    out.loss += items_[i][out.chosen[i]].loss;
  }
  return out;
}

Solution Knapsack::Greedy(double* price) const {
  std::vector<Step> steps;
  for (size_t i = 0; i < items_.size(); ++i) AddSteps(i, items_[i], &steps);
  std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.price > b.price; });
  std::vector<size_t> chosen(items_.size(), 0);
  uint64_t bytes = 0;
  *price = 0;
  for (const Step& step : steps) {
    const uint64_t more = items_[step.item][step.to].bytes - items_[step.item][step.from].bytes;
    if (chosen[step.item] != step.from) continue;
    if (more > budget_ - bytes) {
      if (*price == 0) *price = step.price;
      continue;
    }
    chosen[step.item] = step.to;
    bytes += more;
  }
  Solution solution = Evaluate(std::move(chosen));
  Spend(&solution);
  return solution;
}

void Knapsack::Spend(Solution* solution) const {
  while (true) {
    size_t item = items_.size();
    size_t option = 0;
    double saved = 0;
    for (size_t i = 0; i < items_.size(); ++i) {
      const Option& now = items_[i][solution->chosen[i]];
      for (size_t o = solution->chosen[i] + 1; o < items_[i].size(); ++o) {
        if (items_[i][o].bytes - now.bytes > budget_ - solution->bytes) break;
        if (now.loss - items_[i][o].loss > saved) {
          saved = now.loss - items_[i][o].loss;
          item = i;
          option = o;
        }
      }
    }
    if (item == items_.size()) return;
    solution->chosen[item] = option;
    *solution = Evaluate(std::move(solution->chosen));
  }
}

// The undominated sums of `stage` and one of `options` each. Excess sums only grow, so those above `max_excess` lead to
// nothing better than what is known.
void Knapsack::Extend(const std::vector<State>& stage, const Options& options, uint64_t unit, double max_excess,
                      std::vector<State>* next) const {
  const auto less = [](const State& a, const State& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
  };
  std::vector<State> sums;
  std::vector<State> merged;
  next->clear();
  for (size_t o = 0; o < options.size(); ++o) {
    const Option& option = options[o];
    if (option.excess > max_excess) continue;
    const uint64_t bytes = (option.bytes + unit - 1) / unit * unit;
    sums.clear();
    for (size_t s = 0; s < stage.size(); ++s) {
      if (bytes > budget_ || stage[s].bytes > budget_ - bytes) break;
      const double excess = stage[s].excess + option.excess;
      if (excess > max_excess) continue;
      sums.push_back({stage[s].bytes + bytes, stage[s].loss + option.loss, excess, static_cast<uint32_t>(s),
                      static_cast<uint32_t>(o)});
    }
    merged.clear();
    std::merge(next->begin(), next->end(), sums.begin(), sums.end(), std::back_inserter(merged), less);
    next->clear();
    for (const State& state : merged) {
      if (next->empty() || state.loss < next->back().loss) next->push_back(state);
    }
  }
}

std::optional<Solution> Knapsack::Search(uint64_t unit, double max_excess) const {
  std::vector<State> stage(1);
  std::vector<State> next;
  std::vector<std::vector<Link>> links(items_.size());
  size_t states = 0;
  for (size_t i = 0; i < items_.size(); ++i) {
    Extend(stage, items_[i], unit, max_excess, &next);
    if (next.empty()) return std::nullopt;  // by the rounding of sums
    states += next.size();
    if (states > kMaxStates) return std::nullopt;
    for (const State& state : next) links[i].push_back({state.parent, state.option});
    stage.swap(next);
  }
  // The last state has the most bytes and the least loss.
  std::vector<size_t> chosen(items_.size());
  size_t at = stage.size() - 1;
  for (size_t i = items_.size(); i-- > 0;) {
    chosen[i] = links[i][at].option;
    at = links[i][at].parent;
  }
  return Evaluate(std::move(chosen));
}

Solution Knapsack::Solve() {
  double price = 0;
  Solution best = Greedy(&price);
  if (price == 0) return best;  // everything fits
  // For every solution: loss = bound + price * (budget - bytes) + its options' excess, where no term is negative.
  double bound = -price * static_cast<double>(budget_);
  double magnitude = -bound;
  for (Options& options : items_) {
    double least = std::numeric_limits<double>::infinity();
    for (const Option& o : options) least = std::min(least, o.loss + price * static_cast<double>(o.bytes));
    for (Option& o : options) o.excess = o.loss + price * static_cast<double>(o.bytes) - least;
    bound += least;
    magnitude += std::abs(least);
  }
  const double rounding = 1e-12 * magnitude;
  const double max_excess = std::max(best.loss - bound, 0.0) + rounding;
  std::optional<Solution> found = Search(1, max_excess);
  if (!found) {
    // Stages are now bounded by the number of sizes, whatever the losses are.
    const uint64_t sizes = std::max<uint64_t>(kMaxStates / items_.size(), 2) - 1;
    found = Search(budget_ / sizes + 1, std::numeric_limits<double>::infinity());
    if (found) Spend(&*found);
  }
  if (found && found->loss < best.loss) best = std::move(*found);
  return best;
}

Status Check(std::span<const AllocationItem> items, uint64_t budget) {
  uint64_t least = 0;
  for (const AllocationItem& item : items) {
    if (item.choices.empty()) return InvalidArgument("allocation: tensor '" + item.tensor + "' has no type to choose");
    uint64_t smallest = kMaxBytes;
    for (const TypeChoice& choice : item.choices) {
      if (!std::isfinite(choice.loss) || choice.bytes > kMaxBytes) {
        return InvalidArgument("allocation: tensor '" + item.tensor + "' as " + std::string(Info(choice.type).name) +
                               ": expected a finite loss and at most 2^53 bytes, found " + std::to_string(choice.loss) +
                               " and " + std::to_string(choice.bytes));
      }
      smallest = std::min(smallest, choice.bytes);
    }
    if (least > std::numeric_limits<uint64_t>::max() - smallest) return InvalidArgument("allocation: too many bytes");
    least += smallest;
  }
  if (least <= budget) return Status::Ok();
  return ResourceExhausted("the smallest types take " + FormatBytes(least) + " (" + std::to_string(least) +
                           " bytes), the budget is " + FormatBytes(budget) + " (" + std::to_string(budget) + " bytes)");
}

}  // namespace

Result<Allocation> Allocate(std::span<const AllocationItem> items, uint64_t budget) {
  INK_RETURN_IF_ERROR(Check(items, budget));
  Allocation out;
  if (items.empty()) return out;
  std::vector<Options> options;
  uint64_t least = 0;
  for (const AllocationItem& item : items) {
    options.push_back(Undominated(item.choices));
    least += item.choices[options.back().front().choice].bytes;
  }
  const Solution solution = Knapsack(options, budget - least).Solve();
  for (size_t i = 0; i < items.size(); ++i) {
    const size_t choice = options[i][solution.chosen[i]].choice;
    out.chosen.push_back(choice);
    out.bytes += items[i].choices[choice].bytes;
    out.loss += items[i].choices[choice].loss;
  }
  return out;
}

}  // namespace inkstone

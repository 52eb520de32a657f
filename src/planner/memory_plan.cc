#include "planner/memory_plan.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <optional>

#include "core/units.h"
#include "kvcache/spill_space.h"

namespace inkstone {
namespace {

constexpr int64_t kDefaultContext = 8192;
// An automatic context below this is no use for a chat: better to refuse and say what would fit.
constexpr int64_t kLeastContext = 512;
// Concurrent sequences get KV memory beyond one full context up to this part of what is available.
constexpr uint64_t kSharedKvPart = 4;

uint64_t KvBytes(const KvLayout& kv, int64_t tokens) {
  return static_cast<uint64_t>(kv.PagesFor(tokens)) * kv.page_bytes();
}

// Tokens, in whole pages, that fit beside `fixed` bytes.
int64_t TokensThatFit(const KvLayout& kv, uint64_t fixed, uint64_t available) {
  if (available <= fixed) return 0;
  return static_cast<int64_t>((available - fixed) / kv.page_bytes()) * kv.page_tokens;
}

int64_t WholePages(const KvLayout& kv, int64_t tokens) {
  return std::max<int64_t>(tokens / kv.page_tokens * kv.page_tokens, std::min<int64_t>(tokens, kv.page_tokens));
}

// "at Q4_0 about 2.26 GB": the widest type with which `other` bytes still fit beside the weights; empty when none does.
std::string SmallerWeights(const MemoryFacts& facts, uint64_t other, uint64_t available) {
  static constexpr std::array kTypes = {DType::kQ8_0, DType::kQ6_K, DType::kQ5_K, DType::kQ4_0, DType::kQ3_K};
  for (const DType type : kTypes) {
    const int64_t block = Info(type).block_elements;
    const uint64_t bytes = static_cast<uint64_t>(RowBytes(type, (facts.parameters + block - 1) / block * block));
    if (bytes < facts.weight_bytes && bytes + other <= available) {
      return "the weights at " + std::string(Info(type).name) + ", about " + FormatBytes(bytes) +
             " (inkstone compress --type " + std::string(Info(type).name) + ")";
    }
  }
  return {};
}

// "a KV cache in Q8_0, ...": the widest types with which the plan's context fits beside `fixed` bytes; empty when none.
std::string SmallerCache(const MemoryFacts& facts, const MemoryPlan& plan, uint64_t fixed) {
  static constexpr KvTypes kTypes[] = {{DType::kF16, DType::kF16},
                                       {DType::kQ8_0, DType::kQ8_0},
                                       {DType::kQ8_0, DType::kQ4_0},
                                       {DType::kQ4_0, DType::kQ4_0}};
  for (const KvTypes types : kTypes) {
    KvLayout smaller = facts.kv;
    smaller.types = types;
    if (!KvTypeFits(types.k, smaller.head_dim) || !KvTypeFits(types.v, smaller.head_dim)) continue;
    const uint64_t kv = KvBytes(smaller, plan.kv_tokens);
    if (kv >= plan.kv_bytes || fixed + kv > plan.available) continue;
    return "a KV cache in " + KvTypesName(types) + ", " + FormatBytes(kv) + " (--kv-type " + KvTypesName(types) + ")";
  }
  return {};
}

std::string Further(const char* name, uint64_t bytes) { return bytes == 0 ? "" : name + FormatBytes(bytes); }

// Pages of one sequence in memory and on disk.
struct PageSplit {
  int64_t memory = 0;
  int64_t disk = 0;
};

// As many in memory as `bytes` allow beside two buffers, each for one layer of what is on disk; nothing when that is
// too few, or when the disk has no room for the others.
std::optional<PageSplit> SplitPages(const KvLayout& kv, const MemoryWishes& wishes, int64_t pages, uint64_t bytes) {
  const uint64_t all = static_cast<uint64_t>(pages) * kv.page_bytes();
  if (all <= bytes) return PageSplit{pages, 0};
  // memory * layers + 2 * (pages - memory) blocks of one layer, and what rounding adds to the buffers.
  const uint64_t buffers = 2 * (static_cast<uint64_t>(pages) * kv.layer_bytes() + SpillLayout::kRegionAlignment);
  if (wishes.spill_bytes == 0 || kv.layers <= 2 || bytes < buffers) return std::nullopt;
  const uint64_t saved = kv.layer_bytes() * static_cast<uint64_t>(kv.layers - 2);  // by a page that is on disk
  const PageSplit split{static_cast<int64_t>((bytes - buffers) / saved),
                        pages - static_cast<int64_t>((bytes - buffers) / saved)};
  const int64_t least = kv.PagesFor(wishes.prompt_chunk) + 2;
  if (split.memory < least || SpillSpace::LayoutFor(kv, split.disk).file_bytes() > wishes.spill_bytes) {
    return std::nullopt;
  }
  return split;
}

// The longest sequence of whole pages, of at most `most` tokens, that fits.
int64_t LongestSequence(const KvLayout& kv, const MemoryWishes& wishes, int64_t most, uint64_t bytes) {
  int64_t fits = 0, too_long = kv.PagesFor(most) + 1;  // pages
  while (too_long - fits > 1) {
    const int64_t middle = fits + (too_long - fits) / 2;
    (SplitPages(kv, wishes, middle, bytes) ? fits : too_long) = middle;
  }
  return fits * kv.page_tokens;
}

// "a spill file of 12.3 GB (--spill-size 12300MB ..)": what the plan's context needs of disk; empty when no disk helps.
std::string SpillAdvice(const KvLayout& kv, MemoryWishes wishes, int64_t tokens, uint64_t bytes) {
  wishes.spill_bytes = UINT64_MAX;
  const auto split = SplitPages(kv, wishes, kv.PagesFor(tokens), bytes);
  if (!split) return {};
  const uint64_t file = SpillSpace::LayoutFor(kv, split->disk).file_bytes();
  return "with " + FormatBytes(file) + " of it on disk, read for every token (--spill-size " +
         std::to_string(file / 1'000'000 + 1) + "MB --spill-folder DIR)";
}

// The window with which a sequence of any length needs at most `tokens` in the cache; 0 when none is worth having.
int64_t LargestWindow(const KvLayout& kv, int64_t sinks, int64_t tokens) {
  const int64_t page = kv.page_tokens;
  for (int64_t window = tokens / page * page; window >= kLeastContext; window -= page) {
    const auto candidate = AttentionWindow::For(window, std::max(sinks, page), kv.page_tokens);
    if (candidate.MostTokens(tokens + 1) <= tokens) return window;
  }
  return 0;
}

// The sentence for a plan that does not fit: needed, available, what would fit.
Status Refuse(const MemoryFacts& facts, const MemoryWishes& wishes, const MemoryPlan& plan) {
  std::string message =
      "not enough memory: needed " + FormatBytes(plan.total()) + " (weights " + FormatBytes(plan.weight_bytes) +
      ", KV cache " + FormatBytes(plan.kv_bytes) + " for " + std::to_string(wishes.window.MostTokens(plan.context)) +
      " tokens in " + KvTypesName(plan.kv_types) + ", activations " + FormatBytes(plan.activation_bytes) +
      ", runtime " + FormatBytes(plan.runtime_bytes) + Further(", connections ", plan.connection_bytes) +
      Further(", pages on their way to disk ", plan.store_bytes) + "), available " + FormatBytes(plan.available);
  std::string advice;
  const auto add = [&advice](const std::string& text) { advice += (advice.empty() ? "" : "; or ") + text; };
  const uint64_t fixed = plan.total() - plan.kv_bytes;
  const uint64_t bytes = plan.available > fixed ? plan.available - fixed : 0;
  const int64_t longest = LongestSequence(facts.kv, wishes, plan.context, bytes);
  if (longest > 0) add("a context of at most " + std::to_string(longest) + " tokens");
  const std::string spill = SpillAdvice(facts.kv, wishes, wishes.window.MostTokens(plan.context), bytes);
  if (!spill.empty()) add(spill);
  const int64_t window = LargestWindow(facts.kv, wishes.window.sinks, TokensThatFit(facts.kv, fixed, plan.available));
  if (window > 0) add("attention to the newest tokens only (--attention-window " + std::to_string(window) + ")");
  const std::string cache = SmallerCache(facts, plan, fixed);
  if (!cache.empty()) add(cache);
  const std::string weights = SmallerWeights(facts, plan.total() - plan.weight_bytes, plan.available);
  if (!weights.empty()) add(weights);
  return ResourceExhausted(message + "; would fit: " + (advice.empty() ? "a smaller model" : advice));
}

}  // namespace

Result<MemoryPlan> PlanMemory(const MemoryFacts& facts, const MemoryWishes& wishes) {
  if (wishes.context < kLongestContext || wishes.context > facts.trained_context) {
    return InvalidArgument("context must be 0 (automatic) to " + std::to_string(facts.trained_context) +
                           ", what the model was trained for, found " + std::to_string(wishes.context));
  }
  MemoryPlan plan;
  plan.weight_bytes = facts.weight_bytes;
  plan.activation_bytes = facts.activation_bytes;
  plan.runtime_bytes = facts.runtime_bytes;
  plan.connection_bytes = facts.connection_bytes;
  plan.store_bytes = facts.store_bytes;
  plan.available = wishes.memory_limit == 0 ? facts.available : std::min(facts.available, wishes.memory_limit);
  plan.kv_types = facts.kv.types;

  const KvLayout& kv = facts.kv;
  const uint64_t room = plan.available > plan.total() ? plan.available - plan.total() : 0;  // for the cache
  plan.context = wishes.context;
  if (plan.context <= 0) {
    const int64_t most =
        plan.context == kLongestContext ? facts.trained_context : std::min(kDefaultContext, facts.trained_context);
    const bool fits = SplitPages(kv, wishes, kv.PagesFor(wishes.window.MostTokens(most)), room).has_value();
    const int64_t longest = fits ? most : LongestSequence(kv, wishes, most, room);
    plan.context = WholePages(kv, std::max(longest, std::min(most, kLeastContext)));
  }
  const int64_t pages = kv.PagesFor(wishes.window.MostTokens(plan.context));
  const auto split = SplitPages(kv, wishes, pages, room);
  const PageSplit planned = split.value_or(PageSplit{pages, 0});
  plan.kv_tokens = planned.memory * kv.page_tokens;
  plan.kv_bytes = KvBytes(kv, plan.kv_tokens);
  if (!split) return Refuse(facts, wishes, plan);
  if (planned.disk > 0) {
    const SpillLayout spill = SpillSpace::LayoutFor(kv, planned.disk);
    plan.spill_tokens = planned.disk * kv.page_tokens;
    plan.spill_bytes = spill.file_bytes();
    plan.spill_buffer_bytes = 2 * spill.region_bytes();
    return plan;
  }

  const int64_t fits = TokensThatFit(kv, 0, room);
  const int64_t share = TokensThatFit(facts.kv, 0, plan.available / kSharedKvPart);
  plan.kv_tokens = std::max(plan.kv_tokens, std::min({plan.kv_tokens * wishes.max_sequences, share, fits}));
  plan.kv_bytes = KvBytes(facts.kv, plan.kv_tokens);
  return plan;
}

uint64_t EstimateRuntimeBytes(int64_t vocab, int max_sequences) {
  constexpr uint64_t kProgram = 60'000'000;     // code, libraries, thread stacks, prompts that wait
  constexpr uint64_t kTokenizerPerToken = 400;  // texts, hash tables, merges
  constexpr uint64_t kSamplerPerToken = 24;
  const uint64_t logits = sizeof(float) * static_cast<uint64_t>(max_sequences);
  return kProgram + static_cast<uint64_t>(vocab) * (kTokenizerPerToken + kSamplerPerToken + logits);
}

std::string MemoryPlan::Report() const {
  std::string report;
  const auto line = [&report](const std::string& name, uint64_t bytes) {
    char text[128];
    std::snprintf(text, sizeof(text), "%-40s %9s\n", name.c_str(), FormatBytes(bytes).c_str());
    report += text;
  };
  line("weights, mapped", weight_bytes);
  const std::string resident = spill_tokens > 0 ? "KV cache, resident, " : "KV cache, ";
  line(resident + std::to_string(kv_tokens) + " tokens in " + KvTypesName(kv_types), kv_bytes);
  if (spill_tokens > 0) line("spill buffers", spill_buffer_bytes);
  line("activations", activation_bytes);
  line("runtime", runtime_bytes);
  if (connection_bytes > 0) line("connections", connection_bytes);
  if (store_bytes > 0) line("pages on their way to disk", store_bytes);
  line("sum", total());
  line("available", available);
  if (spill_tokens > 0) line("KV cache, on disk, " + std::to_string(spill_tokens) + " tokens", spill_bytes);
  if (!kv_note.empty()) report += kv_note + "\n";
  return report;
}

}  // namespace inkstone

#define PCRE2_CODE_UNIT_WIDTH 8
#include "compress/recipe.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <memory>
#include <utility>

namespace inkstone {
namespace {

constexpr size_t kMaxPattern = 256;
constexpr uint32_t kMaxMatchSteps = 100'000;  // on one name, which has at most 64 bytes

// Layers, or models, in which an exception holds.
enum class Where {
  kNever,
  kAlways,
  kFirst2,
  kFirst4,
  kFirst16th,
  kFirst8th,
  kFirst8thUnweighted,  // only where the columns' importance is not known
  kMoreBits,            // the first and the last eighth, and every third layer between them
  kSharedHeads,         // at least four query heads share a key-value head
};

struct Rule {
  Where where = Where::kNever;
  DType there = DType::kF16;
  DType elsewhere = DType::kF16;
};

}  // namespace

struct Mixture {
  std::string_view name;
  DType base;
  uint32_t file_type;  // llama_ftype
  Rule attn_v;
  Rule ffn_down;
  Rule attn_output;
};

namespace {

constexpr DType kQ2 = DType::kQ2_K;
constexpr DType kQ3 = DType::kQ3_K;
constexpr DType kQ4 = DType::kQ4_K;
constexpr DType kQ5 = DType::kQ5_K;
constexpr DType kQ6 = DType::kQ6_K;
constexpr DType kNl = DType::kIQ4_NL;
constexpr DType kXs = DType::kIQ4_XS;
constexpr Rule kNone;

constexpr Rule All(DType type) { return {Where::kAlways, type, type}; }

// llama.cpp, src/llama-quant.cpp, llama_tensor_get_type_impl: the rows of dense models without fused Q, K and V. The
// output matrix, or the embedding that stands for it, is Q6_K in all of them.
constexpr std::array<Mixture, 11> kMixtures = {{
    {"Q2_K", kQ2, 10, {Where::kSharedHeads, kQ4, kQ3}, All(kQ3), All(kQ3)},
    {"Q3_K_S", kQ3, 11, kNone, kNone, kNone},
    {"Q3_K_M", kQ3, 12, {Where::kFirst2, kQ5, kQ4}, {Where::kFirst16th, kQ5, kQ4}, All(kQ4)},
    {"Q3_K_L", kQ3, 13, All(kQ5), All(kQ5), All(kQ5)},
    {"Q4_K_S", kQ4, 14, {Where::kFirst4, kQ5, kQ4}, {Where::kFirst8th, kQ5, kQ4}, kNone},
    {"Q4_K_M", kQ4, 15, {Where::kMoreBits, kQ6, kQ4}, {Where::kMoreBits, kQ6, kQ4}, kNone},
    {"Q5_K_S", kQ5, 16, kNone, kNone, kNone},
    {"Q5_K_M", kQ5, 17, {Where::kMoreBits, kQ6, kQ5}, {Where::kMoreBits, kQ6, kQ5}, kNone},
    {"Q6_K", kQ6, 18, kNone, kNone, kNone},
    {"IQ4_NL", kNl, 25, {Where::kSharedHeads, kQ5, kNl}, {Where::kFirst8thUnweighted, kQ5, kNl}, kNone},
    {"IQ4_XS", kXs, 30, {Where::kSharedHeads, kQ5, kXs}, {Where::kFirst8thUnweighted, kQ5, kXs}, kNone},
}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kAliases = {
    {{"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}}};

uint32_t FileType(DType type) {  // llama_ftype of files that are mostly of a type
  switch (type) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ8_0:
      return 7;
    case DType::kQ5_0:
      return 8;
    case DType::kQ5_1:
      return 9;
    case DType::kQ2_K:
      return 10;
    case DType::kQ3_K:
      return 11;
    case DType::kQ4_K:
      return 14;
    case DType::kQ5_K:
      return 16;
    case DType::kQ6_K:
      return 18;
    case DType::kIQ4_NL:
      return 25;
    case DType::kIQ4_XS:
      return 30;
    case DType::kBF16:
      return 32;
  }
  return 0;
}

// What the mixtures look at.
struct ModelFacts {
  int64_t layers = 0;
  bool shared_heads = false;
  bool large = false;  // 80 layers: the 70B class, whose attn_v llama.cpp gives more bits
  bool tied = false;   // the embedding is the output matrix
  bool weighted = false;
};

Result<ModelFacts> FactsOf(const Checkpoint& checkpoint, bool weighted) {
  const Metadata& meta = checkpoint.metadata();
  INK_ASSIGN_OR_RETURN(const std::string_view architecture, meta.GetString("general.architecture"));
  const std::string prefix = std::string(architecture) + ".";
  ModelFacts facts;
  INK_ASSIGN_OR_RETURN(facts.layers, meta.GetInt(prefix + "block_count"));
  INK_ASSIGN_OR_RETURN(const int64_t heads, meta.GetInt(prefix + "attention.head_count"));
  INK_ASSIGN_OR_RETURN(const int64_t kv_heads, meta.GetIntOr(prefix + "attention.head_count_kv", heads));
  facts.shared_heads = kv_heads > 0 && heads / kv_heads >= 4;
  facts.large = facts.layers == 80;
  facts.tied = checkpoint.Find("output.weight") == nullptr;
  facts.weighted = weighted;
  return facts;
}

bool Holds(Where where, int64_t layer, const ModelFacts& facts) {
  const int64_t n = facts.layers;
  switch (where) {
    case Where::kNever:
      return false;
    case Where::kAlways:
      return true;
    case Where::kFirst2:
      return layer < 2;
    case Where::kFirst4:
      return layer < 4;
    case Where::kFirst16th:
      return layer < n / 16;
    case Where::kFirst8th:
      return layer < n / 8;
    case Where::kFirst8thUnweighted:
      return layer < n / 8 && !facts.weighted;
    case Where::kMoreBits:
      return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
    case Where::kSharedHeads:
      return facts.shared_heads;
  }
  return false;
}

DType MixtureType(const Mixture& mixture, const ModelFacts& facts, const TensorInfo& tensor) {
  const std::string_view name = tensor.name;
  if (name == "output.weight" || (facts.tied && name == "token_embd.weight")) {
    return tensor.cols() % Info(mixture.base).block_elements == 0 ? kQ6 : DType::kQ8_0;
  }
  int64_t layer = 0;
  if (name.starts_with("blk.")) std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  const auto choose = [&](const Rule& e) {
    if (e.where == Where::kNever) return mixture.base;
    return Holds(e.where, layer, facts) ? e.there : e.elsewhere;
  };
  if (name.ends_with(".attn_v.weight")) {
    const DType type = choose(mixture.attn_v);
    return facts.large && (type == kQ3 || type == kQ4) ? kQ5 : type;
  }
  if (name.ends_with(".ffn_down.weight")) return choose(mixture.ffn_down);
  if (name.ends_with(".attn_output.weight")) return choose(mixture.attn_output);
  return mixture.base;
}

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
using Pattern = std::unique_ptr<pcre2_code, FreeCode>;

Result<Pattern> CompilePattern(const std::string& pattern) {
  int error = 0;
  size_t offset = 0;
  Pattern code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_NEVER_BACKSLASH_C,
                             &error, &offset, nullptr));
  if (code) return code;
  char text[128] = "";
  pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof text);
  return InvalidArgument("pattern '" + pattern + "': " + text + " at byte " + std::to_string(offset));
}

Result<bool> Matches(const Pin& pin, const pcre2_code* code, const std::string& tensor) {
  const std::unique_ptr<pcre2_match_data, FreeMatch> match(pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, FreeContext> context(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(context.get(), kMaxMatchSteps);
  const int found =
      pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(tensor.data()), tensor.size(), 0, 0, match.get(), context.get());
  if (found >= 0) return true;
  if (found == PCRE2_ERROR_NOMATCH) return false;
  return ResourceExhausted("pattern '" + pin.pattern + "' takes too long on '" + tensor + "'");
}

// Patterns ready to match, in the order of the pins.
class PinTable {
 public:
  static Result<PinTable> Make(std::span<const Pin> pins) {
    PinTable table;
    for (const Pin& pin : pins) {
      INK_ASSIGN_OR_RETURN(Pattern code, CompilePattern(pin.pattern));
      table.entries_.push_back({&pin, std::move(code), false});
    }
    return table;
  }

  // The last pin that matches decides.
  Result<std::optional<DType>> Find(const std::string& tensor) {
    std::optional<DType> type;
    for (Entry& entry : entries_) {
      INK_ASSIGN_OR_RETURN(const bool match, Matches(*entry.pin, entry.code.get(), tensor));
      if (!match) continue;
      entry.matched = true;
      type = entry.pin->type;
    }
    return type;
  }

  Status CheckAllMatched() const {
    for (const Entry& entry : entries_) {
      if (!entry.matched) return InvalidArgument("pattern '" + entry.pin->pattern + "' matches no matrix of the model");
    }
    return Status::Ok();
  }

 private:
  struct Entry {
    const Pin* pin;
    Pattern code;
    bool matched;
  };
  std::vector<Entry> entries_;
};

bool IsMatrix(const TensorInfo& tensor) { return tensor.shape.size() > 1; }

void Add(const TensorInfo& tensor, DType wanted, TypePlan* plan) {
  const DType used = TypeThatFits(wanted, tensor.cols());
  if (used != wanted) plan->fallbacks.push_back({tensor.name, wanted, used});
  plan->types[tensor.name] = used;
}

uint32_t MostCommonFileType(const Checkpoint& checkpoint, const TypePlan& plan) {
  std::map<DType, int64_t> bytes;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (!IsMatrix(tensor)) continue;
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) rows *= tensor.shape[i];
    const DType type = plan.types.at(tensor.name);
    bytes[type] += rows * RowBytes(type, tensor.cols());
  }
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? 0 : FileType(most->first);
}

std::string Upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

const Mixture* FindMixture(std::string_view name) {
  for (const auto& [alias, target] : kAliases) {
    if (name == alias) name = target;
  }
  const auto* found =
      std::find_if(kMixtures.begin(), kMixtures.end(), [&](const Mixture& m) { return m.name == name; });
  return found == kMixtures.end() ? nullptr : found;
}

}  // namespace

Result<Recipe> RecipeFromName(std::string_view name, bool pure) {
  Recipe recipe;
  if (const Mixture* mixture = FindMixture(Upper(name))) {
    recipe.base = mixture->base;
    if (!pure) recipe.mixture = mixture;
    return recipe;
  }
  const std::optional<DType> type = DTypeFromName(name);
  if (!type) return InvalidArgument("expected one of " + RecipeNames() + ", found '" + std::string(name) + "'");
  recipe.base = *type;
  return recipe;
}

std::string RecipeNames() {
  std::string names;
  for (const DTypeInfo& info : AllDTypes()) {
    if (FindMixture(info.name) == nullptr) names += std::string(info.name) + " ";
  }
  for (const Mixture& mixture : kMixtures) names += std::string(mixture.name) + " ";
  names.pop_back();
  return names;
}

std::span<const Preset> Presets() {
  static const std::array<Preset, 4> kPresets = {{
      {"int8", "half of 16 bits, nearly without loss (Q8_0)", 0, Recipe{DType::kQ8_0}},
      {"medium", "60 % smaller, types chosen by measured sensitivity", 0.40, {}},
      {"deep", "70 % smaller", 0.30, {}},
      {"edge", "78 % smaller", 0.22, {}},
  }};
  return kPresets;
}

Result<Preset> FindPreset(std::string_view name) {
  std::string known;
  for (const Preset& preset : Presets()) {
    if (preset.name == name) return preset;
    known += (known.empty() ? "" : ", ") + std::string(preset.name);
  }
  return InvalidArgument("unknown preset '" + std::string(name) + "', expected one of " + known);
}

Result<Pin> ParsePin(std::string_view text) {
  const std::string quoted = "'" + std::string(text.substr(0, 2 * kMaxPattern)) + "'";
  const size_t equals = text.rfind('=');
  if (equals == std::string_view::npos || equals == 0 || equals > kMaxPattern) {
    return InvalidArgument("expected REGEX=TYPE with a pattern of 1 to " + std::to_string(kMaxPattern) +
                           " bytes, found " + quoted);
  }
  const std::optional<DType> type = DTypeFromName(text.substr(equals + 1));
  if (!type) {
    return InvalidArgument("expected a tensor type such as Q8_0 or Q6_K after the '=', found " + quoted);
  }
  Pin pin{std::string(text.substr(0, equals)), *type};
  INK_RETURN_IF_ERROR(CompilePattern(pin.pattern).status());
  return pin;
}

DType TypeThatFits(DType type, int64_t cols) {
  const auto fits = [&](DType t) { return cols % Info(t).block_elements == 0; };
  if (fits(type)) return type;
  DType simple = DType::kF16;
  switch (type) {
    case DType::kQ2_K:
    case DType::kQ3_K:
      simple = DType::kQ4_0;
      break;
    case DType::kQ4_K:
      simple = DType::kQ5_0;
      break;
    case DType::kQ5_K:
      simple = DType::kQ5_1;
      break;
    case DType::kQ6_K:
      simple = DType::kQ8_0;
      break;
    case DType::kIQ4_XS:
      simple = DType::kIQ4_NL;
      break;
    default:
      break;
  }
  return fits(simple) ? simple : DType::kF16;
}

Result<std::optional<DType>> PinnedType(std::span<const Pin> pins, const std::string& tensor) {
  INK_ASSIGN_OR_RETURN(PinTable table, PinTable::Make(pins));
  return table.Find(tensor);
}

Result<TypePlan> PlanTypes(const Checkpoint& checkpoint, const Recipe& recipe, bool weighted) {
  ModelFacts facts;
  if (recipe.mixture != nullptr) {
    INK_ASSIGN_OR_RETURN(facts, FactsOf(checkpoint, weighted));
  }
  INK_ASSIGN_OR_RETURN(PinTable pins, PinTable::Make(recipe.pins));
  TypePlan plan;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (!IsMatrix(tensor)) continue;
    INK_ASSIGN_OR_RETURN(const std::optional<DType> pinned, pins.Find(tensor.name));
    const DType type = recipe.mixture != nullptr ? MixtureType(*recipe.mixture, facts, tensor) : recipe.base;
    Add(tensor, pinned.value_or(type), &plan);
  }
  INK_RETURN_IF_ERROR(pins.CheckAllMatched());
  plan.file_type = recipe.mixture != nullptr ? recipe.mixture->file_type : MostCommonFileType(checkpoint, plan);
  return plan;
}

Result<TypePlan> PlanTypes(const Checkpoint& checkpoint, std::span<const AllocationItem> items,
                           const Allocation& allocation) {
  std::map<std::string_view, DType> chosen;
  for (size_t i = 0; i < items.size(); ++i) {
    chosen[items[i].tensor] = items[i].choices[allocation.chosen[i]].type;
  }
  TypePlan plan;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (!IsMatrix(tensor)) continue;
    const auto found = chosen.find(tensor.name);
    if (found == chosen.end()) return InvalidArgument("no type was chosen for tensor '" + tensor.name + "'");
    Add(tensor, found->second, &plan);
    chosen.erase(found);
  }
  if (!chosen.empty()) {
    return InvalidArgument("a type was chosen for '" + std::string(chosen.begin()->first) +
                           "', which is no matrix of the model");
  }
  plan.file_type = MostCommonFileType(checkpoint, plan);
  return plan;
}

}  // namespace inkstone

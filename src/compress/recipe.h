// Which type every matrix of a result gets: one for all, a named mixture, or one chosen for each, with exceptions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/allocation.h"
#include "core/dtype.h"
#include "core/status.h"
#include "formats/checkpoint.h"

namespace inkstone {

// A mixture of types as llama-quantize (llama.cpp) makes it for dense models; recipe.cc has the table.
struct Mixture;

// A type for the matrices whose GGUF name has a match of a regular expression (PCRE2).
struct Pin {
  std::string pattern;
  DType type = DType::kF16;
};

struct Recipe {
  DType base = DType::kQ8_0;         // of every matrix that nothing below names
  const Mixture* mixture = nullptr;  // static; gives some matrices another type than `base`
  std::vector<Pin> pins;             // stronger than the mixture; a later one is stronger than those before it
};

// F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1: that type for every matrix. Q2_K, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S,
// Q4_K_M, Q5_K_S, Q5_K_M, Q6_K, IQ4_NL, IQ4_XS: the mixture; Q3_K, Q4_K and Q5_K stand for the _M ones. `pure`: the
// mixture's main type for every matrix. Case-insensitive. kInvalidArgument with the known names.
Result<Recipe> RecipeFromName(std::string_view name, bool pure = false);
// Every name that RecipeFromName takes, separated by spaces.
std::string RecipeNames();

// A size that has a name.
struct Preset {
  std::string_view name;
  std::string_view description;
  double share_of_16_bit = 0;  // of the bytes that all weights have in 16 bits; 0: `recipe` instead
  Recipe recipe;
};
std::span<const Preset> Presets();
// kInvalidArgument with the known names.
Result<Preset> FindPreset(std::string_view name);

// "REGEX=TYPE", split at the last '='. kInvalidArgument names what is wrong with it; the pattern has 1 to 256 bytes.
Result<Pin> ParsePin(std::string_view text);

// A matrix whose columns are no multiple of the wanted type's block.
struct TypeFallback {
  std::string tensor;
  DType wanted = DType::kF16;
  DType used = DType::kF16;
};

struct TypePlan {
  std::map<std::string, DType, std::less<>> types;  // of every matrix (two or more dimensions), by GGUF name
  std::vector<TypeFallback> fallbacks;              // in the checkpoint's order
  uint32_t file_type = 0;  // for general.file_type: llama_ftype of the mixture, else of the type with most bytes
};

// `type` where rows of `cols` elements are whole blocks of it, else the next larger simple type of 32 elements, as in
// llama.cpp (tensor_type_fallback), else F16.
DType TypeThatFits(DType type, int64_t cols);

// The type that the strongest of `pins` gives a tensor, for those who choose types of the others. kInvalidArgument for
// a pattern that is no regular expression, kResourceExhausted for one that takes too long.
Result<std::optional<DType>> PinnedType(std::span<const Pin> pins, const std::string& tensor);

// `weighted`: the columns' importance is known, with which llama.cpp spares some exceptions of IQ4_NL and IQ4_XS.
// Errors: those of PinnedType, kInvalidArgument for a pin without a match, kDataLoss for metadata that is not there.
Result<TypePlan> PlanTypes(const Checkpoint& checkpoint, const Recipe& recipe, bool weighted);

// The types that `allocation` chose from `items`. kInvalidArgument: a matrix without an item, an item without a matrix.
Result<TypePlan> PlanTypes(const Checkpoint& checkpoint, std::span<const AllocationItem> items,
                           const Allocation& allocation);

}  // namespace inkstone

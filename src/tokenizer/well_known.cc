#include "tokenizer/well_known.h"

#include <array>
#include <unordered_map>

namespace inkstone {
namespace {

struct KnownToken {
  std::string_view text;
  WellKnown kind;
};

constexpr std::array<KnownToken, 37> kKnown = {{
    {"<|im_end|>", WellKnown::kEnd},  // Qwen, ChatML
    {"<|im_start|>", WellKnown::kRole},
    {"<|im_sep|>", WellKnown::kRole},
    {"<|endoftext|>", WellKnown::kEnd},  // GPT-2, Qwen
    {"<|startoftext|>", WellKnown::kRole},
    {"<|eot_id|>", WellKnown::kEnd},  // Llama 3
    {"<|eom_id|>", WellKnown::kEnd},
    {"<|end_of_text|>", WellKnown::kEnd},
    {"<|begin_of_text|>", WellKnown::kRole},
    {"<|start_header_id|>", WellKnown::kRole},
    {"<|end_header_id|>", WellKnown::kRole},
    {"<|python_tag|>", WellKnown::kRole},
    {"<|eot|>", WellKnown::kEnd},  // Llama 4
    {"<|eom|>", WellKnown::kEnd},
    {"<|header_start|>", WellKnown::kRole},
    {"<|header_end|>", WellKnown::kRole},
    {"<end_of_turn>", WellKnown::kEnd},  // Gemma
    {"<start_of_turn>", WellKnown::kRole},
    {"<|end_of_turn|>", WellKnown::kEnd},
    {"<|end|>", WellKnown::kEnd},  // Phi
    {"<|system|>", WellKnown::kRole},
    {"<|user|>", WellKnown::kRole},
    {"<|assistant|>", WellKnown::kRole},
    {"<|tool|>", WellKnown::kRole},
    {"</s>", WellKnown::kEnd},  // Llama 2
    {"<s>", WellKnown::kRole},
    {"<EOT>", WellKnown::kEnd},
    {"<\xef\xbd\x9c"
     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
     WellKnown::kEnd},  // DeepSeek
    {"<\xef\xbd\x9c"
     "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
     WellKnown::kRole},
    {"<\xef\xbd\x9cUser\xef\xbd\x9c>", WellKnown::kRole},
    {"<\xef\xbd\x9c"
     "Assistant\xef\xbd\x9c>",
     WellKnown::kRole},
    {"<think>", WellKnown::kTag},
    {"</think>", WellKnown::kTag},
    {"<tool_call>", WellKnown::kTag},
    {"</tool_call>", WellKnown::kTag},
    {"<tool_response>", WellKnown::kTag},
    {"</tool_response>", WellKnown::kTag},
}};

std::vector<bool> BuiltByMerges(const TokenizerParts& parts) {
  std::vector<bool> built(parts.tokens.size(), false);
  for (const BpeModel::Merge& merge : parts.merges) built[merge.merged] = true;
  return built;
}

}  // namespace

WellKnown WellKnownKind(std::string_view text) {
  static const auto* const kByText = [] {
    auto* map = new std::unordered_map<std::string_view, WellKnown>;
    for (const KnownToken& known : kKnown) map->emplace(known.text, known.kind);
    return map;
  }();
  const auto it = kByText->find(text);
  return it == kByText->end() ? WellKnown::kNone : it->second;
}

void MarkWellKnown(TokenizerParts* parts) {
  std::unordered_map<int32_t, size_t> added;
  for (size_t i = 0; i < parts->added.size(); ++i) added.emplace(parts->added[i].id, i);
  const std::vector<bool> built = BuiltByMerges(*parts);
  for (size_t i = 0; i < parts->tokens.size(); ++i) {
    const TokenTable::Token& token = parts->tokens[i];
    if (!token.present || built[i]) continue;
    const WellKnown kind = WellKnownKind(token.bytes);
    if (kind != WellKnown::kEnd && kind != WellKnown::kRole) continue;
    const int32_t id = static_cast<int32_t>(i);
    if (const auto it = added.find(id); it != added.end()) {
      parts->added[it->second].special = true;
    } else {
      AddedToken marked;
      marked.id = id;
      marked.content = token.bytes;
      marked.special = true;
      parts->added.push_back(std::move(marked));
      parts->words[i] = false;
    }
    if (kind == WellKnown::kEnd) parts->AddStop(id);
  }
}

}  // namespace inkstone

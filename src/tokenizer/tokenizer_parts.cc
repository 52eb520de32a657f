#include "tokenizer/tokenizer_parts.h"

#include <algorithm>

#include "tokenizer/byte_alphabet.h"

namespace inkstone {

const AddedToken* TokenizerParts::FindAdded(std::string_view content) const {
  const auto it = std::find_if(added.begin(), added.end(), [&](const AddedToken& t) { return t.content == content; });
  return it == added.end() ? nullptr : &*it;
}

void TokenizerParts::AddStop(int32_t id) {
  if (id >= 0 && stop.size() < kMaxStops && std::find(stop.begin(), stop.end(), id) == stop.end()) stop.push_back(id);
}

Result<BpeModel::Merge> ResolveMerge(const TextIndex& index, std::string_view left, std::string_view right,
                                     const std::string& where) {
  const auto find = [&](const std::string& text) -> Result<int32_t> {
    if (const auto it = index.find(text); it != index.end()) return it->second;
    return DataLoss(where + ": expected tokens of the vocabulary, found \"" + text + "\"");
  };
  INK_ASSIGN_OR_RETURN(const int32_t left_id, find(std::string(left)));
  INK_ASSIGN_OR_RETURN(const int32_t right_id, find(std::string(right)));
  INK_ASSIGN_OR_RETURN(const int32_t merged, find(std::string(left) + std::string(right)));
  return BpeModel::Merge{left_id, right_id, merged};
}

void SetTokenText(std::string_view text, int32_t id, TokenizerParts* parts) {
  TokenTable::Token& token = parts->tokens[id];
  token.present = true;
  if (auto bytes = BytesFromAlphabet(text)) {
    token.bytes = std::move(*bytes);
    token.in_alphabet = true;
  } else {
    token.bytes = text;
    token.in_alphabet = false;
  }
}

std::string GgufPreName(const TokenizerParts& parts) {
  const auto& stages = parts.stages;
  const auto is = [&](std::initializer_list<StageKind> kinds) {
    return std::equal(stages.begin(), stages.end(), kinds.begin(), kinds.end(),
                      [](const PretokenizerStage& s, StageKind k) { return s.kind == k; });
  };
  // llama.cpp ties ignore_merges to the name, too.
  const bool ignore = parts.bpe.ignore_merges;
  if (is({StageKind::kQwen2}) && !ignore) return "qwen2";
  if (is({StageKind::kLlama3}) && ignore) return "llama-bpe";
  if (is({StageKind::kGpt2}) && !ignore) return "gpt-2";
  if (is({StageKind::kDigit, StageKind::kGpt2}) && !ignore) return "smollm";
  return "";
}

}  // namespace inkstone

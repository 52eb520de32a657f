// What a tokenizer is made of, whatever file it came from. Internal to this layer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/status.h"
#include "formats/metadata.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/chat_template_sources.h"
#include "tokenizer/pretokenizer.h"

namespace inkstone {

struct TokenizerParts {
  std::string source;                     // for error messages
  std::vector<TokenTable::Token> tokens;  // by id
  std::vector<bool> words;                // by id: the token belongs to the BPE vocabulary
  std::vector<BpeModel::Merge> merges;
  BpeOptions bpe;
  std::vector<AddedToken> added;
  bool nfc = false;
  std::vector<PretokenizerStage> stages;
  std::string pre_name;  // tokenizer.ggml.pre; empty when llama.cpp has no name for these stages
  int32_t bos = -1;
  int32_t eos = -1;
  int32_t padding = -1;
  bool add_bos = false;
  std::vector<int32_t> stop;
  ChatTemplateSources chat_templates;
  std::vector<std::string> warnings;  // what was odd about the files and is read otherwise than it is written

  const AddedToken* FindAdded(std::string_view content) const;
  static constexpr size_t kMaxStops = 1024;  // no model has so many; a longer list is cut
  // Appends `id` to the stop tokens unless it is there or -1.
  void AddStop(int32_t id);
};

// Vocabulary text -> id while loading; the texts are owned by whoever fills it.
using TextIndex = std::unordered_map<std::string_view, int32_t>;

// Resolves "left right" to ids and their merged token; `where` names file and field in errors.
Result<BpeModel::Merge> ResolveMerge(const TextIndex& index, std::string_view left, std::string_view right,
                                     const std::string& where);
// Sets tokens[id] from its vocabulary text.
void SetTokenText(std::string_view text, int32_t id, TokenizerParts* parts);
// The name that llama.cpp gives to these stages, empty when it has none.
std::string GgufPreName(const TokenizerParts& parts);

// The three sources; each returns complete parts but for the well-known stop tokens.
Result<TokenizerParts> PartsFromJson(std::string_view tokenizer_json, std::string_view config_json,
                                     const std::string& source);
Result<TokenizerParts> PartsFromMetadata(const Metadata& metadata);
Result<TokenizerParts> PartsFromFolder(const std::string& folder);

}  // namespace inkstone

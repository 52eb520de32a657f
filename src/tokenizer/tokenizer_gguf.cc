// GGUF: the "tokenizer.ggml.*" keys, read and written as llama.cpp does.
#include "tokenizer/tokenizer_gguf.h"

#include <algorithm>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/well_known.h"

namespace inkstone {
namespace {

// llama.cpp's token types.
constexpr int64_t kUndefined = 0, kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6;

// What a value of tokenizer.ggml.pre stands for.
struct PreName {
  std::string_view name;
  std::vector<StageKind> stages;
  bool nfc = false;  // the model's own tokenizer.json has it; the file does not say
  bool ignore_merges = false;
  bool add_bos = false;
};

const std::vector<PreName>& PreNames() {
  static const std::vector<PreName> kNames = {
      {"qwen2", {StageKind::kQwen2}, true},
      {"deepseek-r1-qwen", {StageKind::kQwen2}, true},
      {"gpt-2", {StageKind::kGpt2}},
      {"smollm", {StageKind::kDigit, StageKind::kGpt2}},
      {"llama-bpe", {StageKind::kLlama3}, false, true, true},
      {"llama3", {StageKind::kLlama3}, false, true, true},
      {"llama-v3", {StageKind::kLlama3}, false, true, true},
  };
  return kNames;
}

// llama.cpp's fallback for files without a name, one pattern after the other.
constexpr std::string_view kDefaultPatterns[] = {
    R"([\p{P}\$\+<=>\^~\|]+)",
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))",
    R"(\p{N}+)",
    R"([0-9][0-9][0-9])",
};

Status SetPretokenizer(const Metadata& metadata, TokenizerParts* parts) {
  INK_ASSIGN_OR_RETURN(const std::string_view name, metadata.GetStringOr("tokenizer.ggml.pre", "default"));
  parts->pre_name = name;
  if (name == "default") {
    for (const std::string_view pattern : kDefaultPatterns) {
      INK_ASSIGN_OR_RETURN(PretokenizerStage stage, StageFromRegex(pattern));
      parts->stages.push_back(std::move(stage));
    }
    return Status::Ok();
  }
  std::string known = "default";
  for (const PreName& pre : PreNames()) {
    known += ", " + std::string(pre.name);
    if (pre.name != name) continue;
    for (const StageKind kind : pre.stages) parts->stages.push_back({kind, {}});
    parts->nfc = pre.nfc;
    parts->bpe.ignore_merges = pre.ignore_merges;
    parts->add_bos = pre.add_bos;
    return Status::Ok();
  }
  return Unimplemented(metadata.source() + ": tokenizer.ggml.pre: expected one of " + known + ", found \"" +
                       std::string(name) + "\"");
}

// The types of the tokens. A file without them says nothing of control tokens: those whose text is known are told by
// it.
Result<std::vector<int64_t>> TokenTypes(const Metadata& metadata, std::span<const std::string_view> texts,
                                        TokenizerParts* parts) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  if (metadata.Find(kKey) != nullptr) {
    INK_ASSIGN_OR_RETURN(const auto given, metadata.GetInts(kKey));
    std::vector<int64_t> types(given.begin(), given.end());
    std::replace(types.begin(), types.end(), kUndefined, kNormal);
    return types;
  }
  parts->warnings.push_back(metadata.source() + ": " + std::string(kKey) +
                            ": expected a type for each token, found no such key; well-known control tokens are told "
                            "by their text, all others are taken for words");
  std::vector<int64_t> types;
  types.reserve(texts.size());
  for (const std::string_view text : texts) {
    types.push_back(WellKnownKind(text) == WellKnown::kTag ? kUserDefined : kNormal);
  }
  return types;
}

Status ReadTokens(const Metadata& metadata, TokenizerParts* parts, TextIndex* index) {
  const std::string where = metadata.source() + ": tokenizer.ggml.tokens";
  INK_ASSIGN_OR_RETURN(const auto texts, metadata.GetStrings("tokenizer.ggml.tokens"));
  INK_ASSIGN_OR_RETURN(const std::vector<int64_t> types, TokenTypes(metadata, texts, parts));
  if (texts.empty() || texts.size() > static_cast<size_t>(BpeModel::kMaxVocab) || types.size() != texts.size()) {
    return DataLoss(where + ": expected 1 to " + std::to_string(BpeModel::kMaxVocab) +
                    " tokens and as many types, found " + std::to_string(texts.size()) + " and " +
                    std::to_string(types.size()));
  }
  size_t size = texts.size();
  while (size > 0 && types[size - 1] == kUnused) --size;  // rows that only pad the model's matrices
  parts->tokens.resize(size);
  parts->words.resize(size, false);
  index->reserve(size);
  for (size_t i = 0; i < size; ++i) {
    const std::string at = where + "[" + std::to_string(i) + "]";
    if (types[i] < kNormal || types[i] > kByte) {
      return DataLoss(at + ": expected a token_type from 1 to 6, found " + std::to_string(types[i]));
    }
    if (types[i] == kUnused) continue;
    const int32_t id = static_cast<int32_t>(i);
    if (!unicode::IsValidUtf8(texts[i])) return DataLoss(at + ": expected UTF-8, found other bytes");
    if (!index->emplace(texts[i], id).second) {
      return DataLoss(at + ": expected a text of its own, found \"" + std::string(texts[i]) + "\" again");
    }
    SetTokenText(texts[i], id, parts);
    if (types[i] == kNormal || types[i] == kByte) {
      parts->words[i] = parts->tokens[i].in_alphabet;
      continue;
    }
    if (texts[i].size() > AddedTokenMatcher::kMaxContent) {
      return Unimplemented(at + ": expected at most 1024 bytes of an added token, found " +
                           std::to_string(texts[i].size()));
    }
    AddedToken token;
    token.id = id;
    token.content = texts[i];
    token.special = types[i] == kControl || types[i] == kUnknown;
    parts->added.push_back(std::move(token));
  }
  return Status::Ok();
}

Status ReadMerges(const Metadata& metadata, const TextIndex& index, TokenizerParts* parts) {
  INK_ASSIGN_OR_RETURN(const auto merges, metadata.GetStrings("tokenizer.ggml.merges"));
  if (merges.size() > BpeModel::kMaxMerges) {
    return DataLoss(metadata.source() + ": tokenizer.ggml.merges: expected at most " +
                    std::to_string(BpeModel::kMaxMerges) + ", found " + std::to_string(merges.size()));
  }
  parts->merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string where = metadata.source() + ": tokenizer.ggml.merges[" + std::to_string(i) + "]";
    const size_t space = merges[i].find(' ');
    if (space == std::string_view::npos) {
      return DataLoss(where + ": expected two tokens with a space between, found \"" + std::string(merges[i]) + "\"");
    }
    INK_ASSIGN_OR_RETURN(const BpeModel::Merge merge,
                         ResolveMerge(index, merges[i].substr(0, space), merges[i].substr(space + 1), where));
    parts->merges.push_back(merge);
  }
  return Status::Ok();
}

// The ids under a key, one or several. What is no id of the vocabulary is a warning and left out; -1 stands for none.
std::vector<int32_t> ReadIds(const Metadata& metadata, std::string_view key, TokenizerParts* parts) {
  const MetaValue* value = metadata.Find(key);
  if (value == nullptr) return {};
  const std::string problem = metadata.source() + ": " + std::string(key) + ": expected an id below " +
                              std::to_string(parts->tokens.size()) + ", found ";
  std::vector<int64_t> given;
  if (const Result<int64_t> one = metadata.GetInt(key); one.ok()) {
    given.push_back(*one);
  } else if (const auto list = metadata.GetInts(key); list.ok()) {
    const auto part = list->first(std::min(list->size(), TokenizerParts::kMaxStops));
    given.assign(part.begin(), part.end());
  } else {
    parts->warnings.push_back(problem + "another type; it is left out");
    return {};
  }
  std::vector<int32_t> ids;
  int64_t odd = -1;
  for (const int64_t id : given) {
    const bool known = id >= 0 && id < static_cast<int64_t>(parts->tokens.size());
    known ? ids.push_back(static_cast<int32_t>(id)) : void(odd = id);
  }
  if (odd != -1) parts->warnings.push_back(problem + std::to_string(odd) + "; it is left out");
  return ids;
}

int32_t FirstOrNone(const std::vector<int32_t>& ids) { return ids.empty() ? -1 : ids.front(); }

// Every key under which a file names tokens that end a generation.
void ReadStops(const Metadata& metadata, TokenizerParts* parts) {
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eos_token_ids", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    for (const int32_t id : ReadIds(metadata, key, parts)) {
      if (parts->eos < 0) parts->eos = id;
      parts->AddStop(id);
    }
  }
}

// The eos key holds one token. The others go into keys that others read: one list of them all, and eot and eom for
// those whose text alone would not say that they end an answer.
void ExportStops(const TokenizerExport& from, Metadata* metadata) {
  if (from.eos >= 0) metadata->SetU32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(from.eos));
  std::vector<int32_t> all(from.stop.begin(), from.stop.end());
  if (all.size() > 1) metadata->SetI32s("tokenizer.ggml.eos_token_ids", all);
  std::vector<std::string_view> keys = {"tokenizer.ggml.eom_token_id", "tokenizer.ggml.eot_token_id"};
  for (const int32_t id : all) {
    if (id == from.eos || keys.empty() || WellKnownKind(from.tokens.bytes(id)) == WellKnown::kEnd) continue;
    metadata->SetU32(keys.back(), static_cast<uint32_t>(id));
    keys.pop_back();
  }
}

}  // namespace

Result<TokenizerParts> PartsFromMetadata(const Metadata& metadata) {
  TokenizerParts parts;
  parts.source = metadata.source();
  INK_ASSIGN_OR_RETURN(const std::string_view model, metadata.GetString("tokenizer.ggml.model"));
  if (model != "gpt2") {
    return Unimplemented(metadata.source() + ": tokenizer.ggml.model: expected \"gpt2\" (byte-level BPE), found \"" +
                         std::string(model) + "\"");
  }
  INK_RETURN_IF_ERROR(SetPretokenizer(metadata, &parts));
  INK_ASSIGN_OR_RETURN(const bool prefix, metadata.GetBoolOr("tokenizer.ggml.add_space_prefix", false));
  if (prefix) parts.stages.insert(parts.stages.begin(), {StageKind::kPrefixSpace, {}});
  TextIndex index;
  INK_RETURN_IF_ERROR(ReadTokens(metadata, &parts, &index));
  INK_RETURN_IF_ERROR(ReadMerges(metadata, index, &parts));
  parts.bos = FirstOrNone(ReadIds(metadata, "tokenizer.ggml.bos_token_id", &parts));
  parts.padding = FirstOrNone(ReadIds(metadata, "tokenizer.ggml.padding_token_id", &parts));
  ReadStops(metadata, &parts);
  INK_ASSIGN_OR_RETURN(parts.add_bos, metadata.GetBoolOr("tokenizer.ggml.add_bos_token", parts.add_bos));
  INK_ASSIGN_OR_RETURN(parts.chat_templates, TemplatesOfMetadata(metadata));
  return parts;
}

Status ExportParts(const TokenizerExport& from, int32_t model_vocab, Metadata* metadata) {
  const TokenTable& table = from.tokens;
  if (model_vocab < table.size()) {
    return InvalidArgument("tokenizer: expected a model vocabulary of at least " + std::to_string(table.size()) +
                           " rows, found " + std::to_string(model_vocab));
  }
  if (from.pre_name.empty()) {
    return Unimplemented(
        "tokenizer: expected a pre-tokenizer that GGUF has a name for (qwen2, llama-bpe, gpt-2, smollm)");
  }
  const auto text_of = [&](int32_t id) {
    return table.in_alphabet(id) ? AlphabetFromBytes(table.bytes(id)) : std::string(table.bytes(id));
  };
  std::vector<std::string> texts;
  std::vector<int32_t> types;
  for (int32_t id = 0; id < model_vocab; ++id) {
    const bool present = table.present(id);
    texts.push_back(present ? text_of(id) : "[PAD" + std::to_string(id) + "]");
    types.push_back(present ? kNormal : kUnused);
  }
  for (const AddedToken& token : from.added) types[token.id] = token.special ? kControl : kUserDefined;
  std::vector<std::string> merges;
  for (const BpeModel::Merge& merge : from.merges) merges.push_back(text_of(merge.left) + " " + text_of(merge.right));
  metadata->SetString("tokenizer.ggml.model", "gpt2");
  metadata->SetString("tokenizer.ggml.pre", from.pre_name);
  metadata->SetStrings("tokenizer.ggml.tokens", texts);
  metadata->SetI32s("tokenizer.ggml.token_type", types);
  metadata->SetStrings("tokenizer.ggml.merges", merges);
  const auto set_id = [&](std::string_view key, int32_t id) {
    if (id >= 0) metadata->SetU32(key, static_cast<uint32_t>(id));
  };
  set_id("tokenizer.ggml.bos_token_id", from.bos);
  set_id("tokenizer.ggml.padding_token_id", from.padding);
  ExportStops(from, metadata);
  metadata->SetBool("tokenizer.ggml.add_bos_token", from.add_bos);
  ExportTemplates(from.chat_templates, metadata);
  return Status::Ok();
}

}  // namespace inkstone

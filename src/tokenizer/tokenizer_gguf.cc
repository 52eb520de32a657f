// GGUF: the "tokenizer.ggml.*" keys, read and written as llama.cpp does.
#include "tokenizer/tokenizer_gguf.h"

#include <algorithm>

#include "tokenizer/byte_alphabet.h"

namespace inkstone {
namespace {

// llama.cpp's token types.
constexpr int64_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6;

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

Status ReadTokens(const Metadata& metadata, TokenizerParts* parts, TextIndex* index) {
  const std::string where = metadata.source() + ": tokenizer.ggml.tokens";
  INK_ASSIGN_OR_RETURN(const auto texts, metadata.GetStrings("tokenizer.ggml.tokens"));
  INK_ASSIGN_OR_RETURN(const auto types, metadata.GetInts("tokenizer.ggml.token_type"));
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

// metadata[key] as a token's id; -1 when the key is missing.
Result<int32_t> ReadId(const Metadata& metadata, std::string_view key, size_t vocab) {
  if (metadata.Find(key) == nullptr) return -1;
  INK_ASSIGN_OR_RETURN(const int64_t id, metadata.GetInt(key));
  if (id < 0 || id >= static_cast<int64_t>(vocab)) {
    return DataLoss(metadata.source() + ": " + std::string(key) + ": expected an id below " + std::to_string(vocab) +
                    ", found " + std::to_string(id));
  }
  return static_cast<int32_t>(id);
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
  const size_t vocab = parts.tokens.size();
  INK_ASSIGN_OR_RETURN(parts.bos, ReadId(metadata, "tokenizer.ggml.bos_token_id", vocab));
  INK_ASSIGN_OR_RETURN(parts.eos, ReadId(metadata, "tokenizer.ggml.eos_token_id", vocab));
  INK_ASSIGN_OR_RETURN(parts.padding, ReadId(metadata, "tokenizer.ggml.padding_token_id", vocab));
  INK_ASSIGN_OR_RETURN(const int32_t eot, ReadId(metadata, "tokenizer.ggml.eot_token_id", vocab));
  parts.AddStop(parts.eos);
  parts.AddStop(eot);
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
  set_id("tokenizer.ggml.eos_token_id", from.eos);
  set_id("tokenizer.ggml.padding_token_id", from.padding);
  metadata->SetBool("tokenizer.ggml.add_bos_token", from.add_bos);
  ExportTemplates(from.chat_templates, metadata);
  return Status::Ok();
}

}  // namespace inkstone

// Hugging Face folder: tokenizer.json (or vocab.json and merges.txt), tokenizer_config.json, generation_config.json,
// chat_template.jinja.
#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <filesystem>
#include <unordered_set>

#include "formats/tensor_layout.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/tokenizer_parts.h"
#include "tokenizer/tokenizer_vocab.h"
#include "tokenizer/unicode.h"

namespace inkstone {
namespace {

namespace json = boost::json;

// Error messages for one JSON text.
class Origin {
 public:
  explicit Origin(std::string source) : source_(std::move(source)) {}

  std::string At(const std::string& field) const { return source_ + ": " + field; }
  static std::string Show(const json::value* value) {
    if (value == nullptr) return "nothing";
    std::string text = json::serialize(*value);
    if (text.size() > 80) text = text.substr(0, 80) + "...";
    return text;
  }
  Status Wrong(const std::string& field, const std::string& expected, const json::value* found) const {
    return DataLoss(At(field) + ": expected " + expected + ", found " + Show(found));
  }
  Status Unsupported(const std::string& field, const std::string& expected, const json::value* found) const {
    return Unimplemented(At(field) + ": expected " + expected + ", found " + Show(found));
  }

  Result<json::value> Parse(std::string_view text) const {
    boost::system::error_code error;
    json::value value = json::parse(text, error);
    if (error) return DataLoss(source_ + ": expected JSON, found " + error.message());
    return value;
  }
  Result<const json::object*> Object(const std::string& field, const json::value* value) const {
    if (value == nullptr || !value->is_object()) return Wrong(field, "an object", value);
    return &value->get_object();
  }
  Result<const json::array*> Array(const std::string& field, const json::value* value) const {
    if (value == nullptr || !value->is_array()) return Wrong(field, "an array", value);
    return &value->get_array();
  }
  Result<std::string_view> String(const std::string& field, const json::value* value) const {
    if (value == nullptr || !value->is_string()) return Wrong(field, "a string", value);
    const json::string& text = value->get_string();
    return std::string_view(text.data(), text.size());
  }
  Result<bool> Bool(const std::string& field, const json::value* value) const {
    if (value == nullptr || !value->is_bool()) return Wrong(field, "true or false", value);
    return value->get_bool();
  }
  Result<bool> BoolOr(const std::string& field, const json::value* value, bool fallback) const {
    if (value == nullptr || value->is_null()) return fallback;
    return Bool(field, value);
  }
  // An id below `limit`.
  Result<int32_t> Id(const std::string& field, const json::value* value, int64_t limit) const {
    if (value == nullptr || !value->is_int64() || value->get_int64() < 0 || value->get_int64() >= limit) {
      return Wrong(field, "an id below " + std::to_string(limit), value);
    }
    return static_cast<int32_t>(value->get_int64());
  }

 private:
  std::string source_;
};

const json::value* Member(const json::object& object, std::string_view key) { return object.if_contains(key); }
bool IsNullOrMissing(const json::value* value) { return value == nullptr || value->is_null(); }

// Reads tokenizer.json into parts, section by section.
class JsonLoader {
 public:
  JsonLoader(const Origin& origin, TokenizerParts* parts) : origin_(origin), parts_(*parts) {}

  Status Load(const json::value& root) {
    INK_ASSIGN_OR_RETURN(const json::object* top, origin_.Object("the file", &root));
    INK_ASSIGN_OR_RETURN(const json::object* model, origin_.Object("model", Member(*top, "model")));
    INK_RETURN_IF_ERROR(ModelOptions(*model));
    INK_RETURN_IF_ERROR(Vocabulary(*model));
    INK_RETURN_IF_ERROR(Merges(*model));
    INK_RETURN_IF_ERROR(Unknown(*model));
    INK_RETURN_IF_ERROR(Normalizer("normalizer", Member(*top, "normalizer")));
    INK_RETURN_IF_ERROR(AddedTokens(Member(*top, "added_tokens")));
    INK_RETURN_IF_ERROR(Pretokenizer(Member(*top, "pre_tokenizer")));
    INK_RETURN_IF_ERROR(Decoder(Member(*top, "decoder")));
    return PostProcessor(Member(*top, "post_processor"));
    // "truncation" and "padding" hold the last training call's settings; transformers resets both, so do we.
  }

 private:
  Status ModelOptions(const json::object& model) {
    const json::value* type = Member(model, "type");
    if (type != nullptr && *type != "BPE") return origin_.Unsupported("model.type", "\"BPE\"", type);
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const json::value* value = Member(model, key);
      if (!IsNullOrMissing(value) && *value != "")
        return origin_.Unsupported(std::string("model.") + key, "\"\"", value);
    }
    const json::value* dropout = Member(model, "dropout");
    if (!IsNullOrMissing(dropout) && *dropout != 0.0 && *dropout != 0) {
      return origin_.Unsupported("model.dropout", "null", dropout);
    }
    INK_ASSIGN_OR_RETURN(const bool byte_fallback,
                         origin_.BoolOr("model.byte_fallback", Member(model, "byte_fallback"), false));
    if (byte_fallback) return origin_.Unsupported("model.byte_fallback", "false", Member(model, "byte_fallback"));
    INK_ASSIGN_OR_RETURN(parts_.bpe.ignore_merges,
                         origin_.BoolOr("model.ignore_merges", Member(model, "ignore_merges"), false));
    INK_ASSIGN_OR_RETURN(parts_.bpe.fuse_unknown, origin_.BoolOr("model.fuse_unk", Member(model, "fuse_unk"), false));
    return Status::Ok();
  }

  // Ids may leave gaps, but not so many that a short file asks for a huge table.
  int64_t IdLimit(size_t count) const {
    return std::min<int64_t>(BpeModel::kMaxVocab, 65536 + 2 * static_cast<int64_t>(count));
  }
  void Grow(int32_t id) {
    if (static_cast<size_t>(id) < parts_.tokens.size()) return;
    parts_.tokens.resize(id + 1);
    parts_.words.resize(id + 1, false);
  }

  Status Vocabulary(const json::object& model) {
    INK_ASSIGN_OR_RETURN(const json::object* vocab, origin_.Object("model.vocab", Member(model, "vocab")));
    const int64_t limit = IdLimit(vocab->size());
    index_.reserve(vocab->size());
    for (const auto& [text, value] : *vocab) {
      const std::string field = "model.vocab[\"" + std::string(text) + "\"]";
      INK_ASSIGN_OR_RETURN(const int32_t id, origin_.Id(field, &value, limit));
      Grow(id);
      if (parts_.tokens[id].present) return origin_.Wrong(field, "an id of its own", &value);
      SetTokenText(text, id, &parts_);
      parts_.words[id] = parts_.tokens[id].in_alphabet;
      index_.emplace(text, id);
    }
    return Status::Ok();
  }

  Status Merges(const json::object& model) {
    INK_ASSIGN_OR_RETURN(const json::array* merges, origin_.Array("model.merges", Member(model, "merges")));
    if (merges->size() > BpeModel::kMaxMerges) {
      return DataLoss(origin_.At("model.merges") + ": expected at most " + std::to_string(BpeModel::kMaxMerges) +
                      " merges, found " + std::to_string(merges->size()));
    }
    parts_.merges.reserve(merges->size());
    for (size_t i = 0; i < merges->size(); ++i) {
      const json::value& merge = (*merges)[i];
      const std::string field = "model.merges[" + std::to_string(i) + "]";
      std::string_view left;
      std::string_view right;
      if (const json::array* pair = merge.if_array(); pair != nullptr && pair->size() == 2) {
        INK_ASSIGN_OR_RETURN(left, origin_.String(field, &(*pair)[0]));
        INK_ASSIGN_OR_RETURN(right, origin_.String(field, &(*pair)[1]));
      } else {
        INK_ASSIGN_OR_RETURN(const std::string_view text, origin_.String(field, &merge));
        const size_t space = text.find(' ');
        if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
          return origin_.Wrong(field, "two tokens with a space between", &merge);
        }
        left = text.substr(0, space);
        right = text.substr(space + 1);
      }
      INK_ASSIGN_OR_RETURN(const BpeModel::Merge resolved, ResolveMerge(index_, left, right, origin_.At(field)));
      parts_.merges.push_back(resolved);
    }
    return Status::Ok();
  }

  Status Unknown(const json::object& model) {
    const json::value* value = Member(model, "unk_token");
    if (IsNullOrMissing(value)) return Status::Ok();
    INK_ASSIGN_OR_RETURN(const std::string_view text, origin_.String("model.unk_token", value));
    const auto it = index_.find(text);
    if (it == index_.end()) return origin_.Wrong("model.unk_token", "a token of model.vocab", value);
    parts_.bpe.unknown = it->second;
    return Status::Ok();
  }

  // The reference does not take an added token's id from the file: it looks the text up in the vocabulary, or counts
  // on from the vocabulary's size. A file that says something else would not encode as it claims.
  Status AddedTokens(const json::value* value) {
    if (IsNullOrMissing(value)) return Status::Ok();
    INK_ASSIGN_OR_RETURN(const json::array* list, origin_.Array("added_tokens", value));
    const size_t vocab_size = index_.size();
    int64_t next = static_cast<int64_t>(vocab_size);
    const int64_t limit = IdLimit(vocab_size + list->size());
    for (size_t i = 0; i < list->size(); ++i) {
      const std::string field = "added_tokens[" + std::to_string(i) + "]";
      AddedToken token;
      INK_RETURN_IF_ERROR(ReadAdded((*list)[i], field, limit, &token));
      if (token.content.empty()) continue;
      if (!contents_.insert(token.content).second) {
        return DataLoss(origin_.At(field) + ": expected a content of its own, found \"" + token.content + "\" again");
      }
      const auto it = index_.find(token.content);
      const int64_t expected = it != index_.end() ? it->second : next;
      if (token.id != expected) {
        return DataLoss(origin_.At(field) + ".id: expected " + std::to_string(expected) + " for \"" + token.content +
                        "\", found " + std::to_string(token.id));
      }
      next = std::max(next, expected + 1);
      Grow(token.id);
      if (it == index_.end()) {
        if (parts_.tokens[token.id].present) {
          return DataLoss(origin_.At(field) + ".id: expected an id of its own, found " + std::to_string(token.id));
        }
        // The reference decodes a token that it looks for in normalized text to its normalized content.
        std::string buffer;
        const bool normalize = token.normalized && parts_.nfc;
        SetTokenText(normalize ? NormalizeNfc(token.content, &buffer) : token.content, token.id, &parts_);
      }
      parts_.added.push_back(std::move(token));
    }
    return Status::Ok();
  }

  Status ReadAdded(const json::value& value, const std::string& field, int64_t limit, AddedToken* token) {
    INK_ASSIGN_OR_RETURN(const json::object* object, origin_.Object(field, &value));
    INK_ASSIGN_OR_RETURN(token->id, origin_.Id(field + ".id", Member(*object, "id"), limit));
    INK_ASSIGN_OR_RETURN(const std::string_view content,
                         origin_.String(field + ".content", Member(*object, "content")));
    if (content.size() > AddedTokenMatcher::kMaxContent) {
      return origin_.Unsupported(field + ".content", "at most 1024 bytes", Member(*object, "content"));
    }
    token->content = content;
    INK_ASSIGN_OR_RETURN(token->special, origin_.Bool(field + ".special", Member(*object, "special")));
    INK_ASSIGN_OR_RETURN(token->single_word, origin_.Bool(field + ".single_word", Member(*object, "single_word")));
    INK_ASSIGN_OR_RETURN(token->lstrip, origin_.Bool(field + ".lstrip", Member(*object, "lstrip")));
    INK_ASSIGN_OR_RETURN(token->rstrip, origin_.Bool(field + ".rstrip", Member(*object, "rstrip")));
    INK_ASSIGN_OR_RETURN(token->normalized, origin_.Bool(field + ".normalized", Member(*object, "normalized")));
    return Status::Ok();
  }

  Status Normalizer(const std::string& field, const json::value* value) {
    if (IsNullOrMissing(value)) return Status::Ok();
    INK_ASSIGN_OR_RETURN(const json::object* object, origin_.Object(field, value));
    INK_ASSIGN_OR_RETURN(const std::string_view type, origin_.String(field + ".type", Member(*object, "type")));
    if (type == "NFC") {
      parts_.nfc = true;
      return Status::Ok();
    }
    if (type != "Sequence") {
      return origin_.Unsupported(field + ".type", "\"NFC\" or \"Sequence\"", Member(*object, "type"));
    }
    INK_ASSIGN_OR_RETURN(const json::array* list,
                         origin_.Array(field + ".normalizers", Member(*object, "normalizers")));
    for (size_t i = 0; i < list->size(); ++i) {
      INK_RETURN_IF_ERROR(Normalizer(field + ".normalizers[" + std::to_string(i) + "]", &(*list)[i]));
    }
    return Status::Ok();
  }

  Status Pretokenizer(const json::value* value) {
    INK_RETURN_IF_ERROR(PretokenizerStep("pre_tokenizer", value));
    if (!byte_level_) return origin_.Unsupported("pre_tokenizer", "ByteLevel as the last step", value);
    return Status::Ok();
  }

  Status PretokenizerStep(const std::string& field, const json::value* value) {
    INK_ASSIGN_OR_RETURN(const json::object* object, origin_.Object(field, value));
    INK_ASSIGN_OR_RETURN(const std::string_view type, origin_.String(field + ".type", Member(*object, "type")));
    if (type == "Sequence") {
      INK_ASSIGN_OR_RETURN(const json::array* list,
                           origin_.Array(field + ".pretokenizers", Member(*object, "pretokenizers")));
      for (size_t i = 0; i < list->size(); ++i) {
        INK_RETURN_IF_ERROR(PretokenizerStep(field + ".pretokenizers[" + std::to_string(i) + "]", &(*list)[i]));
      }
      return Status::Ok();
    }
    // After ByteLevel the text is in the byte alphabet: what a further step sees is no longer the text.
    if (byte_level_) return origin_.Unsupported(field, "nothing after ByteLevel", value);
    if (type == "ByteLevel") return ByteLevel(field, *object);
    if (type == "Digits") {
      INK_ASSIGN_OR_RETURN(const bool individual,
                           origin_.BoolOr(field + ".individual_digits", Member(*object, "individual_digits"), false));
      parts_.stages.push_back({individual ? StageKind::kDigit : StageKind::kDigits, {}});
      return Status::Ok();
    }
    if (type == "Split") return Split(field, *object);
    return origin_.Unsupported(field + ".type", "\"Split\", \"Digits\", \"ByteLevel\" or \"Sequence\"",
                               Member(*object, "type"));
  }

  Status ByteLevel(const std::string& field, const json::object& object) {
    byte_level_ = true;
    INK_ASSIGN_OR_RETURN(const bool prefix,
                         origin_.Bool(field + ".add_prefix_space", Member(object, "add_prefix_space")));
    INK_ASSIGN_OR_RETURN(const bool use_regex, origin_.BoolOr(field + ".use_regex", Member(object, "use_regex"), true));
    if (prefix) parts_.stages.push_back({StageKind::kPrefixSpace, {}});
    if (use_regex) parts_.stages.push_back({StageKind::kGpt2, {}});
    return Status::Ok();
  }

  Status Split(const std::string& field, const json::object& object) {
    const json::value* behavior = Member(object, "behavior");
    if (behavior == nullptr || *behavior != "Isolated") {
      return origin_.Unsupported(field + ".behavior", "\"Isolated\"", behavior);
    }
    INK_ASSIGN_OR_RETURN(const bool invert, origin_.BoolOr(field + ".invert", Member(object, "invert"), false));
    if (invert) return origin_.Unsupported(field + ".invert", "false", Member(object, "invert"));
    INK_ASSIGN_OR_RETURN(const json::object* pattern, origin_.Object(field + ".pattern", Member(object, "pattern")));
    std::string regex;
    if (const json::value* text = Member(*pattern, "String"); text != nullptr) {
      INK_ASSIGN_OR_RETURN(const std::string_view literal, origin_.String(field + ".pattern.String", text));
      regex = SplitRegex::Quote(literal);
    } else {
      INK_ASSIGN_OR_RETURN(regex, origin_.String(field + ".pattern.Regex", Member(*pattern, "Regex")));
    }
    Result<PretokenizerStage> stage = StageFromRegex(regex);
    if (!stage.ok()) return {stage.status().code(), origin_.At(field + ".pattern: ") + stage.status().message()};
    parts_.stages.push_back(std::move(*stage));
    return Status::Ok();
  }

  Status Decoder(const json::value* value) const {
    const json::value* step = value;
    if (const json::object* object = step ? step->if_object() : nullptr) {
      const json::value* list = Member(*object, "decoders");
      if (list != nullptr && list->is_array() && list->get_array().size() == 1) step = &list->get_array()[0];
    }
    const json::object* object = step ? step->if_object() : nullptr;
    const json::value* type = object ? Member(*object, "type") : nullptr;
    if (type == nullptr || *type != "ByteLevel") return origin_.Unsupported("decoder", "ByteLevel", value);
    return Status::Ok();
  }

  // Post-processors only add special tokens (which encoding without them leaves out) and adjust offsets; a template
  // that starts with a special token says that the model expects BOS.
  Status PostProcessor(const json::value* value) {
    const json::object* object = value ? value->if_object() : nullptr;
    if (object == nullptr) return Status::Ok();
    if (const json::value* list = Member(*object, "processors"); list != nullptr && list->is_array()) {
      for (const json::value& step : list->get_array()) {
        if (step.is_object() && Member(step.get_object(), "processors") == nullptr) {
          INK_RETURN_IF_ERROR(PostProcessor(&step));
        }
      }
      return Status::Ok();
    }
    const json::value* single = Member(*object, "single");
    if (single == nullptr || !single->is_array() || single->get_array().empty()) return Status::Ok();
    const json::value& first = single->get_array()[0];
    const json::object* item = first.if_object();
    const json::value* special = item ? Member(*item, "SpecialToken") : nullptr;
    if (special == nullptr || !special->is_object()) return Status::Ok();
    INK_ASSIGN_OR_RETURN(const std::string_view name, origin_.String("post_processor.single[0].SpecialToken.id",
                                                                     Member(special->get_object(), "id")));
    if (const AddedToken* token = parts_.FindAdded(name); token != nullptr) {
      parts_.bos = token->id;
      parts_.add_bos = true;
    }
    return Status::Ok();
  }

  const Origin& origin_;
  TokenizerParts& parts_;
  TextIndex index_;                           // model.vocab; texts live in the JSON value
  std::unordered_set<std::string> contents_;  // of the added tokens so far
  bool byte_level_ = false;
};

// Sets the id of config[key], which is a token's text, an object with its "content", or null (then `id` stays). What is
// none of these names no token: a warning.
void NamedToken(const Origin& origin, const json::object& config, const char* key, TokenizerParts* parts, int32_t* id) {
  const json::value* value = Member(config, key);
  if (IsNullOrMissing(value)) return;
  if (const json::object* object = value->if_object()) value = Member(*object, "content");
  const Result<std::string_view> text = origin.String(key, value);
  if (!text.ok()) {
    parts->warnings.push_back(text.status().message() + "; it is left out");
    return;
  }
  if (const AddedToken* token = parts->FindAdded(*text)) {
    *id = token->id;
    return;
  }
  for (size_t i = 0; i < parts->tokens.size(); ++i) {
    if (parts->tokens[i].present && parts->tokens[i].bytes == *text) *id = static_cast<int32_t>(i);
  }
}

// chat_template of tokenizer_config.json: one text, or a list of named ones.
Status ReadChatTemplates(const Origin& origin, const json::value* value, ChatTemplateSources* out) {
  if (IsNullOrMissing(value)) return Status::Ok();
  if (!value->is_array()) {
    INK_ASSIGN_OR_RETURN((*out)["default"], origin.String("chat_template", value));
    return Status::Ok();
  }
  for (const json::value& item : value->get_array()) {
    INK_ASSIGN_OR_RETURN(const json::object* entry, origin.Object("chat_template[]", &item));
    INK_ASSIGN_OR_RETURN(const std::string_view name, origin.String("chat_template[].name", Member(*entry, "name")));
    INK_ASSIGN_OR_RETURN((*out)[std::string(name)],
                         origin.String("chat_template[].template", Member(*entry, "template")));
  }
  return Status::Ok();
}

// tokenizer_config.json
Status ApplyTokenizerConfig(std::string_view text, const Origin& origin, TokenizerParts* parts) {
  INK_ASSIGN_OR_RETURN(const json::value root, origin.Parse(text));
  INK_ASSIGN_OR_RETURN(const json::object* config, origin.Object("the file", &root));
  NamedToken(origin, *config, "bos_token", parts, &parts->bos);
  NamedToken(origin, *config, "eos_token", parts, &parts->eos);
  NamedToken(origin, *config, "pad_token", parts, &parts->padding);
  const Result<bool> add_bos = origin.BoolOr("add_bos_token", Member(*config, "add_bos_token"), parts->add_bos);
  add_bos.ok() ? void(parts->add_bos = *add_bos)
               : parts->warnings.push_back(add_bos.status().message() + "; it is left out");
  parts->AddStop(parts->eos);
  return ReadChatTemplates(origin, Member(*config, "chat_template"), &parts->chat_templates);
}

// eos_token_id of generation_config.json or config.json: one id or several. A model's file may name an id that its
// tokenizer lacks; such an id can't be generated as text and is left out with a warning.
Status ApplyEosIds(std::string_view text, const Origin& origin, TokenizerParts* parts) {
  INK_ASSIGN_OR_RETURN(const json::value root, origin.Parse(text));
  INK_ASSIGN_OR_RETURN(const json::object* config, origin.Object("the file", &root));
  const json::value* value = Member(*config, "eos_token_id");
  if (IsNullOrMissing(value)) return Status::Ok();
  json::array ids;
  if (value->is_array()) {
    ids = value->get_array();
  } else {
    ids.push_back(*value);
  }
  std::string odd;
  for (size_t i = 0; i < std::min(ids.size(), 4 * TokenizerParts::kMaxStops); ++i) {
    const double* number = ids[i].if_double();
    const bool whole = number != nullptr && *number == std::floor(*number) && std::abs(*number) < BpeModel::kMaxVocab;
    if (whole) ids[i] = static_cast<int64_t>(*number);  // 6137.0
    const Result<int32_t> id = origin.Id("eos_token_id", &ids[i], static_cast<int64_t>(parts->tokens.size()));
    if (!id.ok() || !parts->tokens[*id].present) {
      odd = Origin::Show(&ids[i]);
      continue;
    }
    if (parts->eos < 0) parts->eos = *id;
    parts->AddStop(*id);
  }
  if (!odd.empty()) {
    parts->warnings.push_back(origin.At("eos_token_id") + ": expected ids of the tokenizer's " +
                              std::to_string(parts->tokens.size()) + " tokens, found " + odd + "; it is left out");
  }
  return Status::Ok();
}

// The file's text; empty when it does not exist.
Result<std::string> ReadOptional(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::string();
  const bool tokenizer = path.filename() == "tokenizer.json";
  return ReadTextInput(path.string(), "a text file of the model", tokenizer ? kMaxTokenizerBytes : kMaxConfigBytes);
}

Result<TokenizerParts> PartsFromValue(const json::value& root, std::string_view config_json,
                                      const std::string& source) {
  TokenizerParts parts;
  parts.source = source;
  const Origin origin(source);
  INK_RETURN_IF_ERROR(JsonLoader(origin, &parts).Load(root));
  parts.pre_name = GgufPreName(parts);
  if (!config_json.empty()) {
    const Origin config_origin(source + " (tokenizer_config.json)");
    INK_RETURN_IF_ERROR(ApplyTokenizerConfig(config_json, config_origin, &parts));
  }
  return parts;
}

// The tokenizer of a folder: tokenizer.json, or the files that it is made of where it is missing.
Result<TokenizerParts> PartsFromFiles(const std::filesystem::path& base, std::string_view config) {
  INK_ASSIGN_OR_RETURN(const std::string tokenizer, ReadOptional(base / "tokenizer.json"));
  if (!tokenizer.empty()) return PartsFromJson(tokenizer, config, (base / "tokenizer.json").string());
  VocabFiles files;
  files.folder = base.string();
  files.tokenizer_config = config;
  INK_ASSIGN_OR_RETURN(files.vocab, ReadOptional(base / "vocab.json"));
  INK_ASSIGN_OR_RETURN(files.merges, ReadOptional(base / "merges.txt"));
  if (files.vocab.empty() || files.merges.empty()) {
    return NotFound((base / "tokenizer.json").string() + ": expected a file, or vocab.json and merges.txt, found none");
  }
  INK_ASSIGN_OR_RETURN(files.added, ReadOptional(base / "added_tokens.json"));
  INK_ASSIGN_OR_RETURN(files.model_config, ReadOptional(base / "config.json"));
  INK_ASSIGN_OR_RETURN(const json::value joined, JoinVocab(files));
  return PartsFromValue(joined, config, (base / "vocab.json").string());
}

}  // namespace

Result<TokenizerParts> PartsFromJson(std::string_view tokenizer_json, std::string_view config_json,
                                     const std::string& source) {
  INK_ASSIGN_OR_RETURN(const json::value root, Origin(source).Parse(tokenizer_json));
  return PartsFromValue(root, config_json, source);
}

Result<TokenizerParts> PartsFromFolder(const std::string& folder) {
  const std::filesystem::path base(folder);
  INK_ASSIGN_OR_RETURN(const std::string config, ReadOptional(base / "tokenizer_config.json"));
  INK_ASSIGN_OR_RETURN(TokenizerParts parts, PartsFromFiles(base, config));
  for (const char* name : {"generation_config.json", "config.json"}) {
    INK_ASSIGN_OR_RETURN(const std::string text, ReadOptional(base / name));
    if (!text.empty()) INK_RETURN_IF_ERROR(ApplyEosIds(text, Origin((base / name).string()), &parts));
  }
  // Files of their own replace what tokenizer_config.json says, as transformers has it.
  INK_ASSIGN_OR_RETURN(ChatTemplateSources files, TemplatesOfFolder(folder));
  if (!files.empty()) parts.chat_templates = std::move(files);
  return parts;
}

}  // namespace inkstone

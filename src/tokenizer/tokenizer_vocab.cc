#include "tokenizer/tokenizer_vocab.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "tokenizer/pretokenizer.h"

namespace inkstone {
namespace {

namespace json = boost::json;

std::string_view View(const json::string& text) { return {text.data(), text.size()}; }

// An empty object for an empty text.
Result<json::object> ParseObject(std::string_view text, const std::string& file) {
  if (text.empty()) return json::object();
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error) return DataLoss(file + ": expected JSON, found " + error.message());
  if (!value.is_object()) return DataLoss(file + ": expected an object, found another type");
  return std::move(value.get_object());
}

std::string_view TextOr(const json::object& object, std::string_view key, std::string_view fallback) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? View(value->get_string()) : fallback;
}

// How text is cut before it is encoded: "qwen2" or "gpt2".
Result<std::string_view> CutOf(const json::object& config, const json::object& model, const std::string& folder) {
  const std::string_view type = TextOr(config, "tokenizer_class", "");
  if (type == "Qwen2Tokenizer" || type == "Qwen2TokenizerFast") return std::string_view("qwen2");
  if (type == "GPT2Tokenizer" || type == "GPT2TokenizerFast") return std::string_view("gpt2");
  const std::string_view architecture = TextOr(model, "model_type", "");
  if (type.empty() && (architecture == "qwen2" || architecture == "qwen3")) return std::string_view("qwen2");
  return Unimplemented(folder + ": tokenizer.json: expected a file, or a tokenizer_class of Qwen2Tokenizer or " +
                       "GPT2Tokenizer beside vocab.json, found the class \"" + std::string(type) + "\"");
}

json::array MergeLines(std::string_view text) {
  json::array merges;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const bool heading = begin == 0 && line.starts_with("#version");
    if (!line.empty() && !heading) merges.emplace_back(json::string(line));
    begin = end + 1;
  }
  return merges;
}

json::object AddedToken(int64_t id, std::string_view content, bool special) {
  return {{"id", id},        {"content", content},  {"special", special}, {"single_word", false},
          {"lstrip", false}, {"normalized", false}, {"rstrip", false}};
}

// Whether tokenizer_config.json names the token as one with a role.
bool NamedSpecial(const json::object& config, std::string_view content) {
  const auto is = [content](const json::value& value) {
    if (value.is_string()) return View(value.get_string()) == content;
    return value.is_object() && TextOr(value.get_object(), "content", "") == content;
  };
  for (const char* key : {"bos_token", "eos_token", "pad_token", "unk_token"}) {
    const json::value* value = config.if_contains(key);
    if (value != nullptr && is(*value)) return true;
  }
  const json::value* more = config.if_contains("additional_special_tokens");
  return more != nullptr && more->is_array() && std::any_of(more->get_array().begin(), more->get_array().end(), is);
}

// In the order of their ids. tokenizer_config.json knows most of a token, added_tokens.json its id alone.
Result<json::array> AddedTokens(const json::object& added, const json::object& config, const std::string& folder) {
  std::map<int64_t, json::object> by_id;
  for (const auto& [text, value] : added) {
    if (!value.is_int64()) {
      return DataLoss(folder + "/added_tokens.json: \"" + std::string(text) + "\": expected an id, found " +
                      json::serialize(value).substr(0, 80));
    }
    const std::string_view content(text.data(), text.size());
    by_id[value.get_int64()] = AddedToken(value.get_int64(), content, NamedSpecial(config, content));
  }
  const json::value* decoder = config.if_contains("added_tokens_decoder");
  if (decoder != nullptr && decoder->is_object()) {
    for (const auto& [key, value] : decoder->get_object()) {
      int64_t id = -1;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc() || end != key.data() + key.size() || !value.is_object()) {
        return DataLoss(folder + "/tokenizer_config.json: added_tokens_decoder: expected an object under each id, " +
                        "found another under \"" + std::string(key) + "\"");
      }
      json::object token = AddedToken(id, "", false);
      for (const auto& [name, field] : value.get_object()) token[name] = field;
      token["id"] = id;
      by_id[id] = std::move(token);
    }
  }
  json::array list;
  for (auto& [id, token] : by_id) list.push_back(std::move(token));
  return list;
}

json::value CutSteps(std::string_view cut, bool prefix_space) {
  if (cut == "gpt2") return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"use_regex", true}};
  const json::value split = {{"type", "Split"},
                             {"pattern", {{"Regex", RegexOf(StageKind::kQwen2)}}},
                             {"behavior", "Isolated"},
                             {"invert", false}};
  const json::value bytes = {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"use_regex", false}};
  return {{"type", "Sequence"}, {"pretokenizers", json::array{split, bytes}}};
}

}  // namespace

Result<json::value> JoinVocab(const VocabFiles& files) {
  INK_ASSIGN_OR_RETURN(json::object vocab, ParseObject(files.vocab, files.folder + "/vocab.json"));
  INK_ASSIGN_OR_RETURN(const json::object added, ParseObject(files.added, files.folder + "/added_tokens.json"));
  INK_ASSIGN_OR_RETURN(const json::object config,
                       ParseObject(files.tokenizer_config, files.folder + "/tokenizer_config.json"));
  INK_ASSIGN_OR_RETURN(const json::object model, ParseObject(files.model_config, files.folder + "/config.json"));
  INK_ASSIGN_OR_RETURN(const std::string_view cut, CutOf(config, model, files.folder));
  INK_ASSIGN_OR_RETURN(json::array tokens, AddedTokens(added, config, files.folder));
  const json::value* prefix = config.if_contains("add_prefix_space");
  json::object root;
  root["added_tokens"] = std::move(tokens);
  if (cut == "qwen2") root["normalizer"] = {{"type", "NFC"}};
  root["pre_tokenizer"] = CutSteps(cut, prefix != nullptr && prefix->is_bool() && prefix->get_bool());
  root["decoder"] = {{"type", "ByteLevel"}};
  root["model"] = {{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", MergeLines(files.merges)}};
  return json::value(std::move(root));
}

}  // namespace inkstone

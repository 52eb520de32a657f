// tokenizer.json: what is supported, and the error for everything else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;

// A small valid file.
json::object Base() {
  return json::parse(R"({
    "version": "1.0", "truncation": {"max_length": 3}, "padding": null,
    "added_tokens": [{"id": 4, "content": "<x>", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
              "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
              "vocab": {"a": 0, "b": 1, "ab": 2, "abb": 3}, "merges": ["a b", ["ab", "b"]]}
  })")
      .as_object();
}

Result<std::unique_ptr<Tokenizer>> LoadText(const std::string& text, std::string_view config = "") {
  return Tokenizer::FromJson(text, config, "t.json");
}

// The error after Base()[path] = value (a JSON pointer and JSON text).
std::string ErrorWith(const std::string& pointer, const std::string& value) {
  json::value root = Base();
  root.at_pointer(pointer) = json::parse(value);
  const auto loaded = LoadText(json::serialize(root));
  return loaded.ok() ? "ok" : loaded.status().message();
}

std::vector<int32_t> EncodeWith(const std::string& pointer, const std::string& value, std::string_view text) {
  json::value root = Base();
  root.at_pointer(pointer) = json::parse(value);
  const auto loaded = LoadText(json::serialize(root));
  return loaded.ok() ? (*loaded)->Encode(text, SpecialText::kRecognize) : std::vector<int32_t>{-1};
}

TEST(TokenizerJson, BothFormsOfMerges) {
  const auto loaded = LoadText(json::serialize(Base()));
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_THAT((*loaded)->Encode("abbab<x>a", SpecialText::kRecognize), ElementsAre(3, 2, 4, 0));
  EXPECT_EQ((*loaded)->vocab_size(), 5);
}

TEST(TokenizerJson, UnknownTokenAndPrefixSpace) {
  EXPECT_THAT(EncodeWith("/model/unk_token", R"("b")", "azzza"), ElementsAre(3, 1, 0));  // it takes part in merges
  EXPECT_THAT(EncodeWith("/pre_tokenizer/add_prefix_space", "true", "ab"), ElementsAre(2));
}

TEST(TokenizerJson, ErrorsNameFileFieldExpectedFound) {
  const struct {
    const char* pointer;
    const char* value;
    const char* error;
  } cases[] = {
      {"/model/vocab/a", "4294967296", "t.json: model.vocab[\"a\"]: expected an id below 65544, found 4294967296"},
      {"/model/vocab/a", "70000", "expected an id below 65544, found 70000"},
      {"/model/vocab/a", "-1", "found -1"},
      {"/model/vocab/a", "1", "expected an id of its own, found 1"},
      {"/model/vocab/a", "1.5", "found 1.5E0"},
      {"/model/vocab/a", "\"0\"", "found \"0\""},
      {"/model/vocab", "[]", "model.vocab: expected an object, found []"},
      {"/model/merges", "{}", "model.merges: expected an array, found {}"},
      {"/model/merges/0", "\"a c\"", "model.merges[0]: expected tokens of the vocabulary, found \"c\""},
      {"/model/merges/0", "\"b a\"", "found \"ba\""},
      {"/model/merges/0", "\"ab\"", "expected two tokens with a space between"},
      {"/model/merges/0", "\"a b b\"", "expected two tokens with a space between"},
      {"/model/merges/0", "[\"a\"]", "model.merges[0]"},
      {"/model/merges/0", "[1, 2]", "model.merges[0]: expected a string, found 1"},
      {"/model/type", "\"WordPiece\"", "model.type: expected \"BPE\", found \"WordPiece\""},
      {"/model/byte_fallback", "true", "model.byte_fallback"},
      {"/model/end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix"},
      {"/model/dropout", "0.1", "model.dropout"},
      {"/model/unk_token", "\"<unk>\"", "model.unk_token"},
      {"/added_tokens/0/id", "5", "added_tokens[0].id: expected 4 for \"<x>\", found 5"},
      {"/added_tokens/0/id", "99999999", "added_tokens[0].id: expected an id below"},
      {"/added_tokens/0/special", "1", "added_tokens[0].special: expected true or false, found 1"},
      {"/added_tokens/0", "7", "added_tokens[0]: expected an object, found 7"},
      {"/normalizer/type", "\"NFKC\"", "normalizer.type: expected \"NFC\" or \"Sequence\", found \"NFKC\""},
      {"/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]})",
       "normalizer.normalizers[0].type"},
      {"/pre_tokenizer", "null", "pre_tokenizer: expected an object, found null"},
      {"/pre_tokenizer/type", "\"Metaspace\"", "pre_tokenizer.type"},
      {"/pre_tokenizer", R"({"type": "Digits", "individual_digits": true})", "expected ByteLevel as the last step"},
      {"/pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Removed", "invert": false})",
       "pre_tokenizer.behavior: expected \"Isolated\""},
      {"/pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "\\h"}, "behavior": "Isolated", "invert": false})",
       "t.json: pre_tokenizer.pattern: regular expression, offset 0"},
      {"/decoder", "null", "decoder: expected ByteLevel, found null"},
      {"/decoder/type", "\"Metaspace\"", "decoder: expected ByteLevel"},
  };
  for (const auto& c : cases) EXPECT_THAT(ErrorWith(c.pointer, c.value), HasSubstr(c.error)) << c.pointer;
  EXPECT_THAT(LoadText("{").status().message(), HasSubstr("t.json: expected JSON"));
  EXPECT_THAT(LoadText("[]").status().message(), HasSubstr("t.json: the file: expected an object"));
  EXPECT_THAT(LoadText("{}").status().message(), HasSubstr("model: expected an object, found nothing"));
  EXPECT_FALSE(LoadText(std::string(100000, '[')).ok());
}

TEST(TokenizerJson, RepeatedAddedToken) {
  json::value root = Base();
  json::array& added = root.at("added_tokens").as_array();
  added.push_back(added[0]);
  EXPECT_THAT(LoadText(json::serialize(root)).status().message(), HasSubstr("found \"<x>\" again"));
}

TEST(TokenizerJson, ConfigNamesTokensAndTemplate) {
  const auto loaded =
      LoadText(json::serialize(Base()), R"({"bos_token": {"content": "<x>"}, "eos_token": "ab", "add_bos_token": true,
      "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ((*loaded)->bos_token(), 4);
  EXPECT_EQ((*loaded)->eos_token(), 2);
  EXPECT_TRUE((*loaded)->add_bos());
  EXPECT_THAT((*loaded)->stop_tokens(), ElementsAre(2));
  EXPECT_EQ((*loaded)->chat_template(), "D");
  const auto odd = LoadText(json::serialize(Base()), R"({"eos_token": 3})");
  ASSERT_TRUE(odd.ok()) << odd.status().message();
  EXPECT_EQ((*odd)->eos_token(), -1);
  ASSERT_EQ((*odd)->warnings().size(), 1u);
  EXPECT_THAT((*odd)->warnings()[0], HasSubstr("eos_token: expected a string, found 3; it is left out"));
}

TEST(TokenizerJson, TemplateOfThePostProcessorMeansBos) {
  json::value root = Base();
  root.at_pointer("/post_processor") = json::parse(R"({"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "<x>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]})");
  const auto loaded = LoadText(json::serialize(root));
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_TRUE((*loaded)->add_bos());
  EXPECT_EQ((*loaded)->bos_token(), 4);
}

// {token text, flags} -> ids, as the reference gives them: l, r: strip; w: single word; n: normalized.
TEST(TokenizerJson, AddedTokensOfEveryKind) {
  const auto encode = [](const std::vector<std::pair<std::string, std::string>>& tokens, std::string_view text) {
    json::value root = Base();
    json::array added;
    for (const auto& [content, flags] : tokens) {
      const auto has = [&flags = flags](char c) { return flags.find(c) != std::string::npos; };
      added.push_back({{"id", 4 + static_cast<int>(added.size())},
                       {"content", content},
                       {"single_word", has('w')},
                       {"lstrip", has('l')},
                       {"rstrip", has('r')},
                       {"normalized", has('n')},
                       {"special", false}});
    }
    root.at("added_tokens") = added;
    const auto loaded = LoadText(json::serialize(root));
    return loaded.ok() ? (*loaded)->Encode(text, SpecialText::kRecognize) : std::vector<int32_t>{-1};
  };
  EXPECT_THAT(encode({{"<x", ""}, {"<x>", ""}}, "a<x><xb"), ElementsAre(0, 5, 4, 1));  // the longest
  EXPECT_THAT(encode({{"<y>", "w"}}, "<y>a<y> <y>_\u00E9<y>"), ElementsAre(0));        // touched by words
  EXPECT_THAT(encode({{"<y>", "w"}}, "<y> -<y>-"), ElementsAre(4, 4));
  EXPECT_THAT(encode({{"aa", "n"}, {"ab<", ""}}, "aab<"), ElementsAre(0, 5));  // raw text first
  EXPECT_THAT(encode({{"\u00E9", "n"}}, "ae\u0301b"), ElementsAre(0, 4, 1));   // found after NFC only
  EXPECT_THAT(encode({{"\u00E9", ""}}, "ae\u0301b"), ElementsAre(2));
}

}  // namespace
}  // namespace inkstone

#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

namespace inkstone {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kTiny = std::string(INKSTONE_SOURCE_DIR) + "/tests/data/tiny-qwen3";
const std::string kGolden = std::string(INKSTONE_SOURCE_DIR) + "/tests/tokenizer_parity/golden_tiny_qwen3.jsonl";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

const Tokenizer& Tiny() {
  static const std::unique_ptr<Tokenizer> tokenizer = [] {
    auto checkpoint = Checkpoint::Open(kTiny);
    auto loaded = checkpoint.ok() ? Tokenizer::Load(*checkpoint) : checkpoint.status();
    return loaded.ok() ? std::move(*loaded) : nullptr;
  }();
  return *tokenizer;
}

// Each golden line: text, ids.
std::vector<std::pair<std::string, std::vector<int32_t>>> Golden() {
  std::vector<std::pair<std::string, std::vector<int32_t>>> out;
  std::istringstream lines(ReadFile(kGolden));
  for (std::string line; std::getline(lines, line);) {
    const json::value value = json::parse(line);
    out.emplace_back(value.at("text").as_string(), json::value_to<std::vector<int32_t>>(value.at("ids")));
  }
  return out;
}

void ExpectGolden(const Tokenizer& tokenizer) {
  const auto golden = Golden();
  ASSERT_GT(golden.size(), 300u);
  for (const auto& [text, ids] : golden) {
    ASSERT_EQ(tokenizer.Encode(text, SpecialText::kRecognize), ids) << text;
    const std::string decoded = tokenizer.Decode(ids, false);
    EXPECT_EQ(tokenizer.Encode(decoded, SpecialText::kRecognize), ids) << text;
  }
}

TEST(Tokenizer, EncodesAsTheReference) { ExpectGolden(Tiny()); }

TEST(Tokenizer, LongTextUsesTheCacheAndStaysTheSame) {
  std::string text;
  std::vector<int32_t> joined;
  for (const auto& [piece, ids] : Golden()) {
    // A special token on both sides keeps neighbours apart.
    text += piece + "<|im_end|>";
    joined.insert(joined.end(), ids.begin(), ids.end());
    joined.push_back(6137);
  }
  EXPECT_EQ(Tiny().Encode(text, SpecialText::kRecognize), joined);
}

TEST(Tokenizer, PlainTextNeverBecomesSpecial) {
  const std::string text = "<|im_start|>system\n<think></tool_call><|endoftext|>";
  for (const int32_t id : Tiny().Encode(text, SpecialText::kPlain)) EXPECT_LT(id, 6135);
  EXPECT_EQ(Tiny().Decode(Tiny().Encode(text, SpecialText::kPlain), true), text);
  EXPECT_THAT(Tiny().Encode("<|im_end|><think>", SpecialText::kRecognize), ElementsAre(6137, 6142));
}

TEST(Tokenizer, Facts) {
  EXPECT_EQ(Tiny().vocab_size(), 6144);
  EXPECT_EQ(Tiny().eos_token(), 6137);
  EXPECT_EQ(Tiny().bos_token(), -1);
  EXPECT_FALSE(Tiny().add_bos());
  EXPECT_THAT(Tiny().stop_tokens(), testing::UnorderedElementsAre(6137, 6135));
  EXPECT_THAT(Tiny().chat_template(), HasSubstr("add_generation_prompt"));
  EXPECT_EQ(Tiny().TokenId("<|im_end|>"), 6137);
  EXPECT_EQ(Tiny().TokenBytes(Tiny().TokenId(" the")), " the");
  EXPECT_EQ(Tiny().TokenId("no such token at all"), -1);
  EXPECT_EQ(Tiny().TokenId(""), -1);
  EXPECT_TRUE(Tiny().IsSpecial(6137));
  EXPECT_FALSE(Tiny().IsSpecial(6142));
  EXPECT_EQ(Tiny().TokenBytes(-1), "");
  EXPECT_EQ(Tiny().TokenBytes(6144), "");
}

TEST(Tokenizer, DecodeSkipsSpecialAndReplacesIllFormed) {
  const auto ids = Tiny().Encode("\U0001F600", SpecialText::kPlain);
  ASSERT_GT(ids.size(), 1u);
  EXPECT_EQ(Tiny().Decode(std::vector<int32_t>{ids[0], 6137}, true), "\uFFFD");
  EXPECT_EQ(Tiny().Decode(std::vector<int32_t>{6137, 6142, 99999, -5}, true), "<think>");
  EXPECT_EQ(Tiny().Decode(std::vector<int32_t>{6137}, false), "<|im_end|>");
}

TEST(Tokenizer, InvalidUtf8IsReplacedBeforeEncoding) {
  EXPECT_EQ(Tiny().Encode("a\xF0\x9F\x98z\xC0\xAF", SpecialText::kPlain),
            Tiny().Encode("a\uFFFDz\uFFFD\uFFFD", SpecialText::kPlain));
}

TEST(StreamDecoder, TextIsWholeAndEqualToDecode) {
  for (const auto& [text, ids] : Golden()) {
    StreamDecoder stream(Tiny(), false);
    std::string out;
    for (const int32_t id : ids) {
      out += stream.Push(id);
    }
    out += stream.Flush();
    ASSERT_EQ(out, Tiny().Decode(ids, false));
  }
}

TEST(StreamDecoder, HoldsBackAndReplaces) {
  const auto ids = Tiny().Encode("\U0001F600", SpecialText::kPlain);
  StreamDecoder stream(Tiny());
  for (size_t i = 0; i + 1 < ids.size(); ++i) EXPECT_EQ(stream.Push(ids[i]), "");
  EXPECT_EQ(stream.Push(6137), "");
  EXPECT_EQ(stream.Push(ids.back()), "\U0001F600");
  EXPECT_EQ(stream.Push(ids[0]), "");
  EXPECT_EQ(stream.Push(Tiny().TokenId("a")), "\uFFFDa");
  EXPECT_EQ(stream.Push(ids[0]), "");
  EXPECT_EQ(stream.Flush(), "\uFFFD");
  EXPECT_EQ(stream.Flush(), "");
}

TEST(Tokenizer, GgufRoundTrip) {
  Metadata metadata("test.gguf");
  ASSERT_TRUE(Tiny().ExportMetadata(6200, &metadata).ok());
  EXPECT_EQ(*metadata.GetString("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(*metadata.GetString("tokenizer.ggml.pre"), "qwen2");
  EXPECT_EQ(*metadata.GetInt("tokenizer.ggml.eos_token_id"), 6137);
  const auto tokens = *metadata.GetStrings("tokenizer.ggml.tokens");
  const auto types = *metadata.GetInts("tokenizer.ggml.token_type");
  ASSERT_EQ(tokens.size(), 6200u);
  EXPECT_EQ(tokens[6199], "[PAD6199]");
  EXPECT_EQ(types[6199], 5);
  EXPECT_EQ(types[0], 1);
  EXPECT_EQ(types[6137], 3);
  EXPECT_EQ(types[6142], 4);
  const auto loaded = Tokenizer::FromMetadata(metadata);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ((*loaded)->vocab_size(), 6144);
  EXPECT_EQ((*loaded)->chat_template(), Tiny().chat_template());
  EXPECT_THAT((*loaded)->stop_tokens(), testing::UnorderedElementsAre(6137, 6135));
  ExpectGolden(**loaded);
  EXPECT_EQ(Tiny().ExportMetadata(6143, &metadata).code(), StatusCode::kInvalidArgument);
}

// Two megabytes of anything take about as long as two megabytes of text. The bound is loose for loaded machines and
// sanitizers; anything quadratic takes hours.
TEST(Tokenizer, NoInputIsQuadratic) {
  for (const std::string unit : {"a", " ", "7", "\u6F22", "\u0301", "\u0316\u0301", "\n", "<", "'", "\u1161", "\xFF"}) {
    std::string text;
    while (text.size() < 2'000'000) text += unit;
    const auto start = std::chrono::steady_clock::now();
    const auto ids = Tiny().Encode(text, SpecialText::kRecognize);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_FALSE(ids.empty());
    EXPECT_LT(seconds.count(), 60) << testing::PrintToString(unit);
  }
}

TEST(Tokenizer, ThreadsShareOne) {
  const auto golden = Golden();
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (const auto& [text, ids] : golden) wrong[t] += Tiny().Encode(text, SpecialText::kRecognize) != ids;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, ElementsAre(0, 0, 0, 0));
}

TEST(Tokenizer, GgufErrorsNameKeyAndExpectation) {
  const auto make = [](auto change) {
    Metadata m("bad.gguf");
    m.SetString("tokenizer.ggml.model", "gpt2");
    m.SetString("tokenizer.ggml.pre", "gpt-2");
    m.SetStrings("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab"});
    m.SetI32s("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1});
    m.SetStrings("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
    change(m);
    const auto loaded = Tokenizer::FromMetadata(m);
    return loaded.ok() ? std::string("ok") : loaded.status().message();
  };
  EXPECT_EQ(make([](Metadata&) {}), "ok");
  EXPECT_THAT(make([](Metadata& m) { m.SetString("tokenizer.ggml.model", "llama"); }), HasSubstr("expected \"gpt2\""));
  EXPECT_THAT(make([](Metadata& m) { m.SetString("tokenizer.ggml.pre", "tekken"); }), HasSubstr("found \"tekken\""));
  EXPECT_THAT(make([](Metadata& m) {
                m.SetI32s("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1});
              }),
              HasSubstr("found 3 and 2"));
  EXPECT_THAT(make([](Metadata& m) {
                m.SetI32s("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 9});
              }),
              HasSubstr("token_type from 1 to 6"));
  EXPECT_THAT(make([](Metadata& m) { m.SetStrings("tokenizer.ggml.merges", std::vector<std::string>{"a c"}); }),
              HasSubstr("merges[0]"));
  EXPECT_THAT(make([](Metadata& m) { m.SetStrings("tokenizer.ggml.merges", std::vector<std::string>{"ab"}); }),
              HasSubstr("space between"));
  EXPECT_THAT(make([](Metadata& m) {
                m.SetStrings("tokenizer.ggml.tokens", std::vector<std::string>{"a", "a", "b"});
              }),
              HasSubstr("found \"a\" again"));
  EXPECT_THAT(make([](Metadata& m) { m.Erase("tokenizer.ggml.merges"); }), HasSubstr("tokenizer.ggml.merges"));
  EXPECT_EQ(make([](Metadata& m) { m.SetString("tokenizer.ggml.pre", "default"); }), "ok");
}

TEST(Tokenizer, OddIdsOfAGgufAreLeftOutAndEveryEndKeyIsRead) {
  Metadata m("odd.gguf");
  m.SetString("tokenizer.ggml.model", "gpt2");
  m.SetString("tokenizer.ggml.pre", "gpt-2");
  m.SetStrings("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab", "c", "</s>", "d"});
  m.SetI32s("tokenizer.ggml.token_type", std::vector<int32_t>{1, 0, 1, 1, 1, 1});
  m.SetStrings("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
  m.SetU32("tokenizer.ggml.bos_token_id", 4000000000u);
  m.SetView("tokenizer.ggml.padding_token_id", MetaValue{MetaType::kI32, int64_t{-1}});
  m.SetString("tokenizer.ggml.eos_token_id", "b");
  m.SetI32s("tokenizer.ggml.eos_token_ids", std::vector<int32_t>{1, 77});
  m.SetU32("tokenizer.ggml.eot_token_id", 0);
  m.SetU32("tokenizer.ggml.eom_token_id", 3);
  const auto loaded = Tokenizer::FromMetadata(m);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ((*loaded)->bos_token(), -1);
  EXPECT_EQ((*loaded)->eos_token(), 1);
  EXPECT_THAT((*loaded)->stop_tokens(), ElementsAre(1, 0, 3, 4));
  EXPECT_EQ((*loaded)->warnings().size(), 3u);
  EXPECT_TRUE((*loaded)->IsSpecial(4));

  // Where the merges build it, "</s>" is a word like others.
  m.SetStrings("tokenizer.ggml.tokens", std::vector<std::string>{"<", "/", "</", "s>", "</s>", "s"});
  m.SetStrings("tokenizer.ggml.merges", std::vector<std::string>{"< /", "</ s>"});
  const auto word = Tokenizer::FromMetadata(m);
  ASSERT_TRUE(word.ok()) << word.status().message();
  EXPECT_FALSE((*word)->IsSpecial(4));
  EXPECT_THAT((*word)->stop_tokens(), testing::Not(testing::Contains(4)));
}

}  // namespace
}  // namespace inkstone

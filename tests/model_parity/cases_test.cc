// Configurations from reports of others (tests/data/cases), with the tensors and the tokenizer of
// tests/data/tiny-qwen3.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "compress/compress.h"
#include "model/model.h"
#include "model/rope.h"
#include "running.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const fs::path kTiny = fs::path(INKSTONE_SOURCE_DIR) / "tests/data/tiny-qwen3";
constexpr int32_t kToolResponseEnd = 6141;

class CasesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / ("inkstone-case-" + std::string(info->name()) + std::to_string(getpid()));
    fs::create_directories(folder_ / "hf");
  }
  void TearDown() override { fs::remove_all(folder_); }

  // The model's folder: what the case has, and for the rest tiny-qwen3.
  std::string Make(const std::string& name) const {
    const fs::path own = fs::path(INKSTONE_SOURCE_DIR) / "tests/data/cases" / name;
    for (const char* file :
         {"config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"}) {
      const fs::path source = fs::exists(own / file) ? own / file : kTiny / file;
      fs::create_symlink(source, folder_ / "hf" / file);
    }
    return (folder_ / "hf").string();
  }
  std::string ToGguf(const std::string& source) const {
    CompressOptions options;
    options.source = source;
    options.output = (folder_ / "out.gguf").string();
    options.recipe.base = DType::kF16;
    const auto report = Compress(options, [](const Progress&) {});
    EXPECT_TRUE(report.ok()) << report.status().message();
    return options.output;
  }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  fs::path folder_;
};

ModelConfig ConfigOf(const std::string& path) {
  const auto checkpoint = Checkpoint::Open(path);
  if (!checkpoint.ok()) {
    ADD_FAILURE() << checkpoint.status().message();
    return {};
  }
  auto config = Model::ReadConfig(*checkpoint);
  if (!config.ok()) {
    ADD_FAILURE() << config.status().message();
    return {};
  }
  return std::move(config).value();
}

std::unique_ptr<Tokenizer> TokenizerOf(const std::string& path) {
  const auto checkpoint = Checkpoint::Open(path);
  auto tokenizer = checkpoint.ok() ? Tokenizer::Load(*checkpoint) : checkpoint.status();
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status().message();
    return nullptr;
  }
  return std::move(tokenizer).value();
}

TEST_F(CasesTest, YarnReachesItsFactorTimesTheOriginalContext) {
  const std::string model = Make("yarn-context");
  EXPECT_EQ(ConfigOf(model).context, 8192);
  EXPECT_EQ(ConfigOf(ToGguf(model)).context, 8192);
}

TEST_F(CasesTest, TruncateAndAttnFactorAreHonoured) {
  const ModelConfig exact = ConfigOf(Make("rope-truncate-ignored"));
  ModelConfig truncated = exact;
  truncated.rope.yarn_truncate = true;
  const RopeTable a(exact.rope), b(truncated.rope);
  EXPECT_FALSE(std::equal(a.frequencies().begin(), a.frequencies().end(), b.frequencies().begin()));
  fs::remove_all(folder_ / "hf");
  fs::create_directories(folder_ / "hf");
  // 0.8782488562869419 * (0.1 ln 4 + 1): the inverse of the usual factor, so that nothing is left of it.
  EXPECT_NEAR(RopeTable(ConfigOf(Make("rope-attn_factor-ignored")).rope).amplitude(), 1.0, 1e-6);
}

TEST_F(CasesTest, TopKOfMinusOneMeansOff) {
  const auto checkpoint = Checkpoint::Open(Make("topk-minus-one"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(*checkpoint->metadata().GetInt("general.sampling.top_k"), 0);
  EXPECT_THAT(std::vector<std::string>(checkpoint->warnings().begin(), checkpoint->warnings().end()),
              ElementsAre(HasSubstr("generation_config.json: top_k: expected an integer")));
}

TEST_F(CasesTest, EveryEndTokenSurvivesConversion) {
  const std::string model = Make("end-tokens-lost");
  EXPECT_THAT(TokenizerOf(model)->stop_tokens(), ElementsAre(6137, 6135, kToolResponseEnd));
  const std::string gguf = ToGguf(model);
  EXPECT_THAT(TokenizerOf(gguf)->stop_tokens(), ElementsAre(6137, 6135, kToolResponseEnd));
  const auto checkpoint = Checkpoint::Open(gguf);
  const Metadata& m = checkpoint->metadata();
  EXPECT_EQ(*m.GetInt("tokenizer.ggml.eos_token_id"), 6137);
  EXPECT_EQ(*m.GetInt("tokenizer.ggml.eot_token_id"), kToolResponseEnd);  // others know it by this key alone
  EXPECT_THAT(*m.GetInts("tokenizer.ggml.eos_token_ids"), ElementsAre(6137, 6135, kToolResponseEnd));
}

TEST_F(CasesTest, OddIdsOfEndTokensAreLeftOut) {
  const std::string model = Make("end-tokens-lost");
  fs::remove(fs::path(model) / "generation_config.json");
  fs::remove(fs::path(model) / "tokenizer_config.json");
  std::ofstream(fs::path(model) / "generation_config.json")
      << R"({"eos_token_id":[-5,"x",null,99999999,6141.0,1e300]})";
  std::ofstream(fs::path(model) / "tokenizer_config.json") << R"({"bos_token":false,"add_bos_token":"no"})";
  const auto tokenizer = TokenizerOf(model);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(tokenizer->stop_tokens(), ::testing::UnorderedElementsAre(kToolResponseEnd, 6137, 6135));
  EXPECT_THAT(
      std::vector<std::string>(tokenizer->warnings().begin(), tokenizer->warnings().end()),
      ElementsAre(HasSubstr("bos_token: expected a string, found false"), HasSubstr("add_bos_token: expected true"),
                  HasSubstr("eos_token_id: expected ids of the tokenizer's 6144 tokens, found 1E300")));
}

// A folder with vocab.json, merges.txt and added_tokens.json in place of tokenizer.json.
class VocabTest : public CasesTest {
 protected:
  void SetUp() override {
    CasesTest::SetUp();
    fs::remove(fs::path(Make("vocab-and-merges")) / "tokenizer.json");
    const json::value root = json::parse(ReadText(kTiny / "tokenizer.json"));
    Write("vocab.json", json::serialize(root.at("model").at("vocab")));
    std::string merges = "#version: 0.2\n";
    for (const json::value& merge : root.at("model").at("merges").as_array()) {
      if (merge.is_string()) {
        merges += std::string(merge.get_string()) + "\n";
      } else {
        merges += std::string(merge.at(0).as_string()) + " " + std::string(merge.at(1).as_string()) + "\n";
      }
    }
    Write("merges.txt", merges);
    json::object added;
    for (const json::value& token : root.at("added_tokens").as_array()) {
      added[token.at("content").as_string()] = token.at("id");
    }
    Write("added_tokens.json", json::serialize(added));
  }
  void Write(const std::string& name, const std::string& text) const {
    fs::remove(folder_ / "hf" / name);
    std::ofstream(folder_ / "hf" / name, std::ios::binary) << text;
  }
  std::string Error() const {
    const auto checkpoint = Checkpoint::Open(Path("hf"));
    const auto tokenizer = checkpoint.ok() ? Tokenizer::Load(*checkpoint) : checkpoint.status();
    return tokenizer.ok() ? "ok" : tokenizer.status().message();
  }
  // The same ids as with tokenizer.json, and the same facts.
  void ExpectTiny() const {
    const auto want = TokenizerOf(kTiny.string());
    const auto got = TokenizerOf(Path("hf"));
    ASSERT_NE(got, nullptr);
    std::ifstream lines(fs::path(INKSTONE_SOURCE_DIR) / "tests/tokenizer_parity/golden_tiny_qwen3.jsonl");
    int texts = 0;
    for (std::string line; std::getline(lines, line); ++texts) {
      const json::value value = json::parse(line);
      const std::string text(value.at("text").as_string());
      ASSERT_EQ(got->Encode(text, SpecialText::kRecognize), json::value_to<std::vector<int32_t>>(value.at("ids")));
      ASSERT_EQ(got->Encode(text, SpecialText::kPlain), want->Encode(text, SpecialText::kPlain));
    }
    EXPECT_GT(texts, 300);
    EXPECT_EQ(got->vocab_size(), want->vocab_size());
    EXPECT_EQ(got->eos_token(), want->eos_token());
    EXPECT_EQ(got->chat_template(), want->chat_template());
    EXPECT_THAT(got->stop_tokens(), ::testing::ElementsAreArray(want->stop_tokens()));
    for (int32_t id = 6130; id < 6144; ++id) EXPECT_EQ(got->IsSpecial(id), want->IsSpecial(id)) << id;
  }
};

TEST_F(VocabTest, EncodesAsTokenizerJsonDoes) { ExpectTiny(); }

TEST_F(VocabTest, TheConfigAloneNamesTheAddedTokens) {
  fs::remove(folder_ / "hf/added_tokens.json");
  ExpectTiny();
}

TEST_F(VocabTest, ErrorsNameTheFile) {
  Write("vocab.json", "[]");
  EXPECT_THAT(Error(), HasSubstr("vocab.json: expected an object"));
  Write("vocab.json", "{");
  EXPECT_THAT(Error(), HasSubstr("vocab.json: expected JSON"));
  Write("vocab.json", R"({"a":0,"b":1,"ab":2})");
  Write("merges.txt", "a b\r\n\na c\n");
  Write("added_tokens.json", "");
  Write("tokenizer_config.json", R"({"tokenizer_class":"GPT2Tokenizer"})");
  EXPECT_THAT(Error(), HasSubstr("model.merges[1]: expected tokens of the vocabulary, found \"c\""));
  Write("merges.txt", "a b\n");
  EXPECT_EQ(Error(), "ok");
  Write("added_tokens.json", R"({"<x>":"3"})");
  EXPECT_THAT(Error(), HasSubstr("added_tokens.json: \"<x>\": expected an id"));
  Write("added_tokens.json", R"({"<x>":3})");
  EXPECT_EQ(Error(), "ok");
  Write("tokenizer_config.json", R"({"tokenizer_class":"GPT2Tokenizer","added_tokens_decoder":{"x":{}}})");
  EXPECT_THAT(Error(), HasSubstr("added_tokens_decoder: expected an object under each id"));
  Write("tokenizer_config.json", R"({"tokenizer_class":"LlamaTokenizer"})");
  EXPECT_THAT(Error(), HasSubstr("found the class \"LlamaTokenizer\""));
  fs::remove(folder_ / "hf/merges.txt");
  EXPECT_THAT(Error(), HasSubstr("tokenizer.json: expected a file, or vocab.json and merges.txt, found none"));
}

// The tiny tokenizer as a GGUF whose types are gone, or all of one kind.
class TypesTest : public ::testing::TestWithParam<int32_t> {};

TEST_P(TypesTest, WellKnownTokensAreControlWhateverTheFileSays) {
  Metadata metadata("m.gguf");
  ASSERT_TRUE(TokenizerOf(kTiny.string())->ExportMetadata(6144, &metadata).ok());
  const int32_t type = GetParam();
  if (type == 0) {
    metadata.Erase("tokenizer.ggml.token_type");
  } else {
    std::vector<int32_t> types(6144, 1);
    std::fill(types.begin() + 6135, types.end(), type);
    metadata.SetI32s("tokenizer.ggml.token_type", types);
  }
  for (const char* key : {"eos_token_id", "eos_token_ids"}) metadata.Erase(std::string("tokenizer.ggml.") + key);
  const auto loaded = Tokenizer::FromMetadata(metadata);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  const Tokenizer& tokenizer = **loaded;
  EXPECT_EQ(tokenizer.warnings().size(), type == 0 ? 1u : 0u);
  EXPECT_THAT(tokenizer.stop_tokens(), ::testing::UnorderedElementsAre(6135, 6137));
  for (const int32_t id : {6135, 6136, 6137}) EXPECT_TRUE(tokenizer.IsSpecial(id)) << id;
  EXPECT_THAT(tokenizer.Encode("<|im_start|>a<|im_end|>", SpecialText::kRecognize),
              ElementsAre(6136, tokenizer.TokenId("a"), 6137));
  const auto plain = tokenizer.Encode("<|im_start|><|im_end|><|endoftext|>", SpecialText::kPlain);
  for (const int32_t id : plain) EXPECT_LT(id, 6135);
  if (type == 0) {
    EXPECT_THAT(tokenizer.Encode("<think>", SpecialText::kRecognize), ElementsAre(6142));
  }
}

INSTANTIATE_TEST_SUITE_P(NoneNormalUser, TypesTest, ::testing::Values(0, 1, 4));

}  // namespace
}  // namespace inkstone

#include "compress/compress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "compress/test_util.h"
#include "formats/gguf_writer.h"

namespace inkstone {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Result<CompressReport> CompressQuietly(const CompressOptions& options) {
  return Compress(options, [](const Progress&) {});
}

CompressOptions Options(const std::string& source, const std::string& output, DType type) {
  CompressOptions options;
  options.source = source;
  options.output = output;
  options.recipe.base = type;
  options.threads = 2;
  options.skip_tokenizer = true;
  return options;
}

// Writes the file and opens it.
Checkpoint MustCompress(const CompressOptions& options) {
  const Result<CompressReport> report = CompressQuietly(options);
  if (!report.ok()) throw std::runtime_error(report.status().message());
  return MustOpen(options.output);
}

// What encoding `values` as `type` leaves of them.
std::vector<float> Rounded(DType type, const std::vector<float>& values) {
  const int64_t count = static_cast<int64_t>(values.size());
  std::vector<std::byte> encoded(static_cast<size_t>(RowBytes(type, count)));
  std::vector<float> decoded(values.size());
  EncodeRow(type, values.data(), count, encoded.data());
  DecodeRow(type, encoded.data(), count, decoded.data());
  return decoded;
}

class EveryOutputType : public testing::TestWithParam<DType> {};

TEST_P(EveryOutputType, EncodesMatricesAndKeepsVectors) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen3-tiny");
  const CompressOptions options = Options(source, folder / "out.gguf", GetParam());
  uint64_t done = 0;
  uint64_t total = 0;
  const Result<CompressReport> report = Compress(options, [&](const Progress& p) {
    EXPECT_GT(p.bytes_done, done);
    done = p.bytes_done;
    total = p.bytes_total;
  });
  ASSERT_TRUE(report.ok()) << report.status().message();
  const Checkpoint in = MustOpen(source);
  const Checkpoint out = MustOpen(options.output);
  EXPECT_EQ(done, total);
  EXPECT_EQ(report->tensor_bytes, out.tensor_bytes());
  EXPECT_EQ(report->source_bytes, in.tensor_bytes());
  EXPECT_EQ(report->file_bytes, std::filesystem::file_size(options.output));
  EXPECT_EQ(report->parameters, static_cast<int64_t>(in.tensor_bytes() / 2));
  ASSERT_EQ(in.tensors().size(), out.tensors().size());
  EXPECT_EQ(out.tensors().front().name, "token_embd.weight");
  for (const TensorInfo& tensor : in.tensors()) {
    const DType expected = tensor.shape.size() == 1 ? DType::kF32 : GetParam();
    const TensorInfo* written = out.Find(tensor.name);
    ASSERT_NE(written, nullptr) << tensor.name;
    EXPECT_EQ(written->dtype, expected) << tensor.name;
    EXPECT_EQ(written->shape, tensor.shape) << tensor.name;
    EXPECT_TRUE(Values(out, tensor.name) == Rounded(expected, Values(in, tensor.name))) << tensor.name;
  }
  EXPECT_EQ(out.metadata().GetInt("qwen3.block_count").value(), 3);
  EXPECT_EQ(out.metadata().GetInt("general.quantization_version").value(), 2);
}

INSTANTIATE_TEST_SUITE_P(Compress, EveryOutputType,
                         testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0,
                                         DType::kQ5_1, DType::kIQ4_NL),
                         [](const auto& test) { return std::string(Info(test.param).name); });

TEST(Compress, NamesTheFileTypeAsLlamaCppDoes) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen2-tiny");
  const std::pair<DType, int64_t> types[] = {{DType::kF32, 0},  {DType::kF16, 1},  {DType::kQ4_0, 2},
                                             {DType::kQ4_1, 3}, {DType::kQ8_0, 7}, {DType::kQ5_0, 8},
                                             {DType::kQ5_1, 9}, {DType::kBF16, 32}};
  for (const auto& [type, number] : types) {
    const Checkpoint out = MustCompress(Options(source, folder / "out.gguf", type));
    EXPECT_EQ(out.metadata().GetInt("general.file_type").value(), number) << Info(type).name;
  }
}

TEST(Compress, ReadsTheFormatsThatItWrites) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen2-tiny", DType::kF32);
  const Checkpoint q8 = MustCompress(Options(source, folder / "q8.gguf", DType::kQ8_0));
  const Checkpoint again = MustCompress(Options(folder / "q8.gguf", folder / "again.gguf", DType::kQ8_0));
  const Checkpoint q4 = MustCompress(Options(folder / "q8.gguf", folder / "q4.gguf", DType::kQ4_0));
  EXPECT_TRUE(ReadFile(folder / "q8.gguf") == ReadFile(folder / "again.gguf"));  // copied, not encoded twice
  EXPECT_TRUE(Values(q4, "blk.1.ffn_up.weight") == Rounded(DType::kQ4_0, Values(q8, "blk.1.ffn_up.weight")));
}

TEST(Compress, DoesNotDependOnThreads) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen3-tiny");
  CompressOptions options = Options(source, folder / "one.gguf", DType::kQ8_0);
  options.threads = 1;
  ASSERT_TRUE(CompressQuietly(options).ok());
  options.threads = 3;
  options.output = folder / "three.gguf";
  ASSERT_TRUE(CompressQuietly(options).ok());
  EXPECT_TRUE(ReadFile(folder / "one.gguf") == ReadFile(folder / "three.gguf"));
}

TEST(Compress, HandlesTensorsOfSeveralSlices) {
  const TempFolder folder;
  SynthOptions synth;
  synth.output = folder / "source";
  synth.shape = NamedShape("qwen3-tiny").value();
  synth.shape.vocab = 70001;  // times 128 columns: more than two slices, the last one short
  synth.shape.layers = 1;
  ASSERT_TRUE(SynthQuietly(synth).ok());
  const Checkpoint out = MustCompress(Options(synth.output, folder / "out.gguf", DType::kQ8_0));
  const Checkpoint in = MustOpen(synth.output);
  EXPECT_TRUE(Values(out, "token_embd.weight") == Rounded(DType::kQ8_0, Values(in, "token_embd.weight")));
}

TEST(Compress, ReordersLlamaRowsForInterleavedRope) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "llama-tiny");
  const Checkpoint in = MustOpen(source);
  const Checkpoint out = MustCompress(Options(source, folder / "out.gguf", DType::kBF16));
  const SynthShape shape = NamedShape("llama-tiny").value();
  for (const auto& [name, heads] :
       {std::pair{"blk.1.attn_q.weight", shape.heads}, std::pair{"blk.1.attn_k.weight", shape.kv_heads}}) {
    const std::vector<float> before = Values(in, name);
    const std::vector<float> after = Values(out, name);
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < shape.head_dim / 2; ++i) {
        for (int64_t half = 0; half < 2; ++half) {
          const int64_t from = (h * shape.head_dim + half * shape.head_dim / 2 + i) * shape.hidden;
          const int64_t to = (h * shape.head_dim + 2 * i + half) * shape.hidden;
          ASSERT_TRUE(std::equal(before.begin() + from, before.begin() + from + shape.hidden, after.begin() + to))
              << name << " head " << h << " row " << 2 * i + half;
        }
      }
    }
  }
  EXPECT_TRUE(Values(in, "blk.1.attn_v.weight") == Values(out, "blk.1.attn_v.weight"));
  // A GGUF source has the order already.
  const Checkpoint again = MustCompress(Options(folder / "out.gguf", folder / "again.gguf", DType::kBF16));
  EXPECT_TRUE(Values(again, "blk.1.attn_q.weight") == Values(out, "blk.1.attn_q.weight"));
}

TEST(Compress, WritesLlama3ScalingAsATensor) {
  const TempFolder folder;
  SynthOptions synth;
  synth.output = folder / "source";
  synth.shape = NamedShape("llama-tiny").value();
  synth.shape.rope_scaling_json = R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,)"
                                  R"("original_max_position_embeddings":1024})";
  ASSERT_TRUE(SynthQuietly(synth).ok());
  const Checkpoint out = MustCompress(Options(synth.output, folder / "out.gguf", DType::kQ8_0));
  const std::vector<float> factors = Values(out, "rope_freqs.weight");
  ASSERT_EQ(factors.size(), 8u);  // half of head_dim 16
  EXPECT_EQ(factors.front(), 1.0f);
  EXPECT_EQ(factors.back(), 8.0f);
  for (const Metadata::Entry& entry : out.metadata().entries()) EXPECT_FALSE(entry.key.starts_with("inkstone."));
}

TEST(Compress, GivesOddColumnsATypeThatFits) {
  const TempFolder folder;
  SynthOptions synth;
  synth.output = folder / "source";
  synth.shape = NamedShape("qwen3-tiny").value();
  synth.shape.layers = 1;
  synth.shape.intermediate = 330;
  ASSERT_TRUE(SynthQuietly(synth).ok());
  const CompressOptions options = Options(synth.output, folder / "out.gguf", DType::kQ4_0);
  const Result<CompressReport> report = CompressQuietly(options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_EQ(report->fallbacks.size(), 1u);
  EXPECT_EQ(report->fallbacks[0].tensor, "blk.0.ffn_down.weight");
  EXPECT_EQ(report->fallbacks[0].wanted, DType::kQ4_0);
  EXPECT_EQ(report->fallbacks[0].used, DType::kF16);
  const Checkpoint out = MustOpen(options.output);
  EXPECT_EQ(out.Find("blk.0.ffn_down.weight")->dtype, DType::kF16);
  EXPECT_EQ(out.Find("blk.0.ffn_up.weight")->dtype, DType::kQ4_0);
}

TEST(Compress, NamesTheTensorAndIndexOfNonFiniteValues) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "llama-tiny");
  const CompressOptions options = Options(source, folder / "out.gguf", DType::kQ8_0);
  Poke(source, "blk.1.attn_q.weight", 3 * 128 + 5, kNan);  // in a tensor whose rows change places
  Result<CompressReport> report = CompressQuietly(options);
  EXPECT_EQ(report.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(report.status().message(), HasSubstr("tensor 'blk.1.attn_q.weight': found nan at index 389"));
  EXPECT_THAT(report.status().message(), HasSubstr("(row 3, column 5)"));
  EXPECT_FALSE(std::filesystem::exists(options.output));
  EXPECT_FALSE(std::filesystem::exists(options.output + ".part"));

  Poke(source, "blk.0.attn_norm.weight", 7, -std::numeric_limits<float>::infinity());  // earlier in the file
  report = CompressQuietly(options);
  EXPECT_THAT(report.status().message(), HasSubstr("tensor 'blk.0.attn_norm.weight': found -inf at index 7"));
}

TEST(Compress, WritesNonFiniteValuesAsZeroWhenAllowed) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen3-tiny");
  Poke(source, "blk.1.ffn_up.weight", 0, kNan);
  Poke(source, "blk.1.ffn_up.weight", 1, std::numeric_limits<float>::infinity());
  Poke(source, "token_embd.weight", 512 * 128 - 1, kNan);
  CompressOptions options = Options(source, folder / "out.gguf", DType::kBF16);
  options.allow_nonfinite = true;
  const Result<CompressReport> report = CompressQuietly(options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->nonfinite_replaced, 3);
  const Checkpoint out = MustOpen(options.output);
  const std::vector<float> values = Values(out, "blk.1.ffn_up.weight");
  EXPECT_EQ(values[0], 0.0f);
  EXPECT_EQ(values[1], 0.0f);
  EXPECT_NE(values[2], 0.0f);
  EXPECT_EQ(Values(out, "token_embd.weight").back(), 0.0f);
}

TEST(Compress, RefusesValuesThatF16CannotHold) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen3-tiny");
  Poke(source, "blk.2.ffn_gate.weight", 1000, -65536.0f);
  CompressOptions options = Options(source, folder / "out.gguf", DType::kF16);
  options.allow_nonfinite = true;  // says nothing about finite values
  const Result<CompressReport> report = CompressQuietly(options);
  EXPECT_EQ(report.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(report.status().message(), HasSubstr("'blk.2.ffn_gate.weight': found -65536 at index 1000"));
  EXPECT_THAT(report.status().message(), HasSubstr("BF16"));
  EXPECT_TRUE(CompressQuietly(Options(source, folder / "out.gguf", DType::kBF16)).ok());
}

TEST(Compress, ChecksItsArguments) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen3-tiny");
  ASSERT_TRUE(CompressQuietly(Options(source, folder / "a.gguf", DType::kBF16)).ok());
  const auto refused = [&](const std::string& from, const std::string& to, DType type) {
    const Status status = CompressQuietly(Options(from, to, type)).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.message();
    return status.message();
  };
  EXPECT_THAT(refused(folder / "a.gguf", folder / "a.gguf", DType::kQ8_0), HasSubstr("the source itself"));
  EXPECT_THAT(refused(source, source + "/model.safetensors", DType::kQ8_0), HasSubstr("the source itself"));
  EXPECT_THAT(refused(source, source, DType::kQ8_0), HasSubstr("is a folder"));
  EXPECT_THAT(refused(source, "", DType::kQ8_0), HasSubstr("no output"));
  EXPECT_FALSE(CompressQuietly(Options(folder / "none", folder / "x.gguf", DType::kQ8_0)).ok());
  EXPECT_FALSE(CompressQuietly(Options(source, folder / "no/such/x.gguf", DType::kQ8_0)).ok());
  EXPECT_TRUE(CompressQuietly(Options(source, folder / "a.gguf", DType::kQ8_0)).ok());  // replaces an old result
  EXPECT_EQ(FindPreset("int8").value().recipe.base, DType::kQ8_0);
  EXPECT_LE(FindPreset("deep").value().share_of_16_bit, 0.3);
  EXPECT_THAT(FindPreset("huge").status().message(), HasSubstr("expected one of int8, medium"));
}

TEST(Compress, RefusesAFileWithoutTensors) {
  const TempFolder folder;
  Metadata metadata;
  metadata.SetString("general.architecture", "qwen3");
  metadata.SetU32("qwen3.block_count", 1);
  metadata.SetU32("qwen3.attention.head_count", 1);
  ASSERT_TRUE(GgufWriter::Create(folder / "empty.gguf", metadata, {})->Finish().ok());
  for (const char* type : {"Q4_0", "Q4_K_M"}) {
    CompressOptions options = Options(folder / "empty.gguf", folder / "out.gguf", DType::kF16);
    options.recipe = RecipeFromName(type).value();
    const Status status = CompressQuietly(options).status();
    EXPECT_EQ(status.code(), StatusCode::kDataLoss);
    EXPECT_THAT(status.message(), HasSubstr("empty.gguf: expected tensors, found none"));
  }
}

TEST(Compress, TakesTheTokenizerAlong) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen3-tiny");
  CompressOptions options = Options(source, folder / "out.gguf", DType::kQ8_0);
  options.skip_tokenizer = false;
  const Checkpoint out = MustCompress(options);
  EXPECT_EQ(out.metadata().GetStrings("tokenizer.ggml.tokens").value().size(), 512u);
  options.source = options.output;
  options.output = folder / "again.gguf";
  const Checkpoint again = MustCompress(options);
  EXPECT_EQ(again.metadata().GetStrings("tokenizer.ggml.tokens").value().size(), 512u);
  EXPECT_EQ(again.metadata().GetString("tokenizer.chat_template").value(),
            out.metadata().GetString("tokenizer.chat_template").value());
}

TEST(Compress, KeepsWhatTheSourceSaysOfItself) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen3-tiny");
  CompressOptions options = Options(source, folder / "first.gguf", DType::kBF16);
  options.skip_tokenizer = false;
  const Checkpoint first = MustCompress(options);
  CompressPlan plan;
  plan.types = PlanTypes(first, options.recipe, false).value();
  plan.metadata.SetString("general.license", "apache-2.0");
  plan.metadata.SetString("somebody.unknown_key", "kept");
  plan.metadata.SetU32("general.file_type", 0);  // the plan's own keys win
  options.output = folder / "second.gguf";
  ASSERT_TRUE(CompressAs(options, first, plan, [](const Progress&) {}).ok());
  const Checkpoint second = MustOpen(options.output);
  EXPECT_EQ(second.metadata().GetInt("general.file_type").value(), 0);
  const Checkpoint third = MustCompress(Options(options.output, folder / "third.gguf", DType::kQ8_0));
  EXPECT_EQ(third.metadata().entries().size(), second.metadata().entries().size());
  EXPECT_EQ(third.metadata().GetInt("general.file_type").value(), 7);
  EXPECT_EQ(third.metadata().GetString("general.license").value(), "apache-2.0");
  EXPECT_EQ(third.metadata().GetString("somebody.unknown_key").value(), "kept");
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    const auto before = first.metadata().GetStrings(key).value();
    const auto after = third.metadata().GetStrings(key).value();
    EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin(), after.end())) << key;
  }
  EXPECT_EQ(third.metadata().GetString("tokenizer.chat_template").value(),
            first.metadata().GetString("tokenizer.chat_template").value());
}

TEST(Compress, ADryRunSaysWhatTheResultWouldBe) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen3-tiny");
  CompressOptions options = Options(source, folder / "out.gguf", DType::kQ8_0);
  options.recipe.pins = {{"ffn_down", DType::kQ4_0}};
  options.dry_run = true;
  const Result<CompressReport> dry = CompressQuietly(options);
  ASSERT_TRUE(dry.ok()) << dry.status().message();
  EXPECT_FALSE(std::filesystem::exists(options.output));
  EXPECT_FALSE(std::filesystem::exists(options.output + ".part"));
  options.dry_run = false;
  const Result<CompressReport> report = CompressQuietly(options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(dry->file_bytes, std::filesystem::file_size(options.output));
  ASSERT_EQ(report->types.size(), 3u);
  EXPECT_EQ(report->types[0].type, DType::kQ8_0);
  EXPECT_EQ(report->types[1].type, DType::kQ4_0);
  EXPECT_EQ(report->types[1].tensors, 3);
  EXPECT_EQ(report->types[1].elements, 3 * 128 * 320);
  EXPECT_EQ(report->types[1].bytes, 3u * 128 * 320 / 32 * 18);
  EXPECT_EQ(report->types[2].type, DType::kF32);
  uint64_t bytes = 0;
  for (const TensorGroup& group : dry->groups) bytes += group.bytes;
  EXPECT_EQ(bytes, report->tensor_bytes);
  EXPECT_EQ(dry->groups.front().kind, "token_embd.weight");
  options.dry_run = true;
  options.output = "";
  options.recipe = RecipeFromName("Q4_K_M").value();
  EXPECT_TRUE(CompressQuietly(options).ok());
}

// Importance of every matrix in a layer; columns count from 1.
Importance MakeImportance(const Checkpoint& checkpoint) {
  Importance importance;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (tensor.shape.size() < 2 || !tensor.name.starts_with("blk.")) continue;
    ChannelImportance& channels = importance[tensor.name];
    channels.tokens = 1;
    for (int64_t c = 0; c < tensor.cols(); ++c) channels.mean_square.push_back(static_cast<float>(c % 7 + 1));
  }
  return importance;
}

TEST(Compress, PassesTheImportanceOfEachColumnOn) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "llama-tiny");
  const Checkpoint in = MustOpen(source);
  const Importance importance = MakeImportance(in);
  CompressOptions options = Options(source, folder / "out.gguf", DType::kQ4_0);
  options.importance = folder / "imatrix.gguf";
  ASSERT_TRUE(WriteImportance(options.importance, importance, "text").ok());
  const Checkpoint out = MustCompress(options);
  for (const std::string name : {"blk.0.ffn_down.weight", "blk.2.attn_v.weight"}) {
    const int64_t cols = in.Find(name)->cols();
    const std::vector<float> values = Values(in, name);
    std::vector<std::byte> expected(static_cast<size_t>(out.Find(name)->bytes));
    for (int64_t row = 0; row < in.Find(name)->rows(); ++row) {
      EncodeRow(DType::kQ4_0, values.data() + row * cols, cols, expected.data() + row * RowBytes(DType::kQ4_0, cols),
                importance.at(name).mean_square.data());
    }
    const auto found = out.Data(*out.Find(name));
    EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.begin(), expected.end())) << name;
  }
}

TEST(Compress, WantsImportanceOfThisModel) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen3-tiny");
  CompressOptions options = Options(source, folder / "out.gguf", DType::kQ4_0);
  options.importance = folder / "imatrix.gguf";
  const auto refused = [&](const Importance& importance) {
    EXPECT_TRUE(WriteImportance(options.importance, importance, "text").ok());
    const Status status = CompressQuietly(options).status();
    EXPECT_EQ(status.code(), StatusCode::kDataLoss);
    EXPECT_THAT(status.message(), HasSubstr("imatrix.gguf"));
    return status.message();
  };
  Importance importance = MakeImportance(MustOpen(source));
  importance["blk.1.attn_k.weight"].mean_square.pop_back();
  EXPECT_THAT(refused(importance), HasSubstr("'blk.1.attn_k.weight': expected 128 columns, found 127"));
  importance.erase("blk.1.attn_k.weight");
  EXPECT_THAT(refused(importance),
              HasSubstr("expected an entry for tensor 'blk.1.attn_k.weight', found none among 20"));
  options.recipe.pins = {{"attn_k", DType::kF16}};  // not quantized: needs none
  EXPECT_TRUE(CompressQuietly(options).ok());
  EXPECT_FALSE(std::filesystem::exists(options.output + ".part"));
}

}  // namespace
}  // namespace inkstone

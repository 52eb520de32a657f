#include "compress/compress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "compress/test_util.h"

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
  options.type = type;
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
                                         DType::kQ4_1),
                         [](const auto& test) { return std::string(Info(test.param).name); });

TEST(Compress, NamesTheFileTypeAsLlamaCppDoes) {
  const TempFolder folder;
  const std::string source = MakeModel(folder, "qwen2-tiny");
  const std::pair<DType, int64_t> types[] = {{DType::kF32, 0},  {DType::kF16, 1},  {DType::kQ4_0, 2},
                                             {DType::kQ4_1, 3}, {DType::kQ8_0, 7}, {DType::kBF16, 32}};
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

TEST(Compress, KeepsOddColumnsInF16) {
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
  EXPECT_THAT(report->kept_f16, ElementsAre("blk.0.ffn_down.weight"));
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
  EXPECT_THAT(refused(source, folder / "x.gguf", DType::kQ4_K), HasSubstr("cannot write Q4_K"));
  EXPECT_FALSE(CompressQuietly(Options(folder / "none", folder / "x.gguf", DType::kQ8_0)).ok());
  EXPECT_FALSE(CompressQuietly(Options(source, folder / "no/such/x.gguf", DType::kQ8_0)).ok());
  EXPECT_TRUE(CompressQuietly(Options(source, folder / "a.gguf", DType::kQ8_0)).ok());  // replaces an old result
  EXPECT_EQ(PresetType("int8").value(), DType::kQ8_0);
  EXPECT_THAT(PresetType("huge").status().message(), HasSubstr("expected int8"));
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

}  // namespace
}  // namespace inkstone

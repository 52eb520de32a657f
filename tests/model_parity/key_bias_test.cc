// Models whose keys are mostly bias, as Qwen2.5's are: the cache that a model gets by default must hold them.
#include "model/key_bias.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "compress/synth.h"
#include "model/runtime.h"
#include "running.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr int kHidden = 256, kHeads = 4, kKvHeads = 2, kHeadDim = 64;

// The bytes of a file in safetensors' format, whose f32 tensors can be changed in place.
class TensorEditor {
 public:
  explicit TensorEditor(fs::path path) : path_(std::move(path)) {
    std::ifstream in(path_, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(in), {});
    uint64_t size = 0;
    std::memcpy(&size, bytes_.data(), sizeof size);
    data_ = sizeof size + size;
    header_ = json::parse({bytes_.data() + sizeof size, size}).as_object();
  }
  void Save() const { std::ofstream(path_, std::ios::binary).write(bytes_.data(), std::ssize(bytes_)); }

  void Set(const std::string& name, int64_t index, float value) { std::memcpy(At(name, index), &value, sizeof value); }
  void Scale(const std::string& name, int64_t index, float factor) {
    float value = 0;
    std::memcpy(&value, At(name, index), sizeof value);
    Set(name, index, value * factor);
  }

 private:
  char* At(const std::string& name, int64_t index) {
    const auto begin = header_.at(name).at("data_offsets").at(0).to_number<size_t>();
    return bytes_.data() + data_ + begin + static_cast<size_t>(index) * sizeof(float);
  }

  fs::path path_;
  std::string bytes_;
  json::object header_;
  size_t data_ = 0;
};

// A random qwen2 of two layers with key biases of the kind that Qwen2.5-7B has: a few channels of each head hold
// hundreds, and the queries have little there. `scale` 1: 300, -150 and 100.
void MakeModel(const fs::path& folder, float scale) {
  SynthOptions o;
  o.output = folder.string();
  o.type = DType::kF32;
  o.deviation = 0.12f;
  o.shape = *NamedShape("qwen3-tiny");
  o.shape.architecture = "qwen2";
  o.shape.hidden = kHidden;
  o.shape.layers = 2;
  o.shape.heads = kHeads;
  o.shape.kv_heads = kKvHeads;
  o.shape.head_dim = kHeadDim;
  ASSERT_TRUE(Synth(o, [](const Progress&) {}).ok());
  TensorEditor editor(folder / "model.safetensors");
  constexpr std::pair<int, float> kChannels[] = {{31, 300.0f}, {30, -150.0f}, {62, 100.0f}, {63, 100.0f}};
  for (const char* layer : {"0", "1"}) {
    const std::string attention = std::string("model.layers.") + layer + ".self_attn.";
    for (const auto& [channel, bias] : kChannels) {
      for (int head = 0; head < kKvHeads; ++head) {
        editor.Set(attention + "k_proj.bias", head * kHeadDim + channel, bias * scale);
      }
      for (int64_t head = 0; head < kHeads; ++head) {
        const int64_t row = head * kHeadDim + channel;
        editor.Scale(attention + "q_proj.bias", row, 0.02f);
        for (int64_t j = 0; j < kHidden; ++j) editor.Scale(attention + "q_proj.weight", row * kHidden + j, 0.02f);
      }
    }
  }
  editor.Save();
}

// Mean KL divergence of rows of logits from those of a reference, in nats.
double MeanDivergence(const std::vector<float>& reference, const std::vector<float>& logits, size_t vocab) {
  const auto log_sum = [vocab](const float* row) {
    double sum = 0;
    for (size_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(row[v]));
    return std::log(sum);
  };
  double total = 0;
  for (size_t begin = 0; begin < reference.size(); begin += vocab) {
    const float *p = &reference[begin], *q = &logits[begin];
    const double p_sum = log_sum(p), q_sum = log_sum(q);
    for (size_t v = 0; v < vocab; ++v) total += std::exp(p[v] - p_sum) * ((p[v] - p_sum) - (q[v] - q_sum));
  }
  return total / (static_cast<double>(reference.size()) / static_cast<double>(vocab));
}

struct Case {
  const char* name;
  float scale;
  DType keys;  // that the model gets
};
class KeyBiasTest : public ::testing::TestWithParam<Case> {};

TEST_P(KeyBiasTest, TheDefaultCacheHoldsTheKeys) {
  const fs::path folder =
      fs::temp_directory_path() / ("inkstone_bias_" + std::to_string(getpid()) + "_" + GetParam().name);
  ASSERT_NO_FATAL_FAILURE(MakeModel(folder, GetParam().scale));
  auto runtime = Runtime::Create({2, ""});
  auto loaded = LoadModel(folder.string(), **runtime, SmallLimits());
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  const ModelConfig& config = loaded->model->config();
  EXPECT_EQ(config.DefaultKvTypes(), (KvTypes{GetParam().keys, DType::kQ8_0})) << "ratio " << config.key_bias_ratio;
  EXPECT_EQ(config.KeyTypeTrouble(DType::kQ8_0).empty(), GetParam().keys == DType::kQ8_0);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 96; ++i) tokens.push_back((i * 37 + 11) % config.vocab);
  const auto run = [&](KvTypes types) {
    return AllLogits(*loaded->model, *loaded->backend, tokens, 96, Phase::kPrompt, types);
  };
  const std::vector<float> exact = run(kF32);
  const auto vocab = static_cast<size_t>(config.vocab);
  EXPECT_LT(MeanDivergence(exact, run(config.DefaultKvTypes()), vocab), 0.002);
  if (GetParam().scale == 1) {
    // What this is about: 8 bits would lose the keys.
    EXPECT_GT(MeanDivergence(exact, run({DType::kQ8_0, DType::kQ8_0}), vocab), 0.02);
  }
  fs::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(Scales, KeyBiasTest,
                         ::testing::Values(Case{"large", 1, DType::kF16}, Case{"moderate", 0.1f, DType::kF16},
                                           Case{"small", 0.02f, DType::kQ8_0}, Case{"none", 0, DType::kQ8_0}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace inkstone

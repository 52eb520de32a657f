// The attention window on the test model, against plain attention over a whole cache in which what is out of sight is
// masked out.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "backends/cpu/cpu_backend.h"
#include "engine/tiny_answers.h"
#include "kvcache/attention_window.h"
#include "model/model.h"
#include "model/runtime.h"

namespace inkstone {
namespace {

constexpr int64_t kContext = 512;

// Passes everything on but attention: that it computes itself, position by position, in f64 from keys and values that
// it has kept of every position.
class MaskedBackend final : public Backend {
 public:
  MaskedBackend(std::unique_ptr<Backend> backend, const AttentionWindow& window, int layers)
      : backend_(std::move(backend)), window_(window), layers_(layers) {}

  std::string_view name() const override { return backend_->name(); }
  Result<DeviceBuffer> Allocate(size_t bytes) override { return backend_->Allocate(bytes); }
  Status Reserve(const BackendLimits& limits) override { return backend_->Reserve(limits); }
  size_t ReserveBytes(const BackendLimits& limits) const override { return backend_->ReserveBytes(limits); }
  void Embed(const WeightView& table, std::span<const int32_t> tokens, Rows out) override {
    backend_->Embed(table, tokens, out);
  }
  void RmsNorm(Rows x, const float* weight, float eps, Rows out) override { backend_->RmsNorm(x, weight, eps, out); }
  void MatMul(Rows x, StepShape shape, std::span<const MatMulTarget> targets) override {
    backend_->MatMul(x, shape, targets);
  }
  void NormRope(Rows x, int head_dim, const float* norm, float eps, const RopeAngles& angles) override {
    backend_->NormRope(x, head_dim, norm, eps, angles);
  }
  void SiluMul(Rows gate, Rows up, Rows out) override { backend_->SiluMul(gate, up, out); }

  void StoreKv(Rows k, Rows v, std::span<const SequenceRows> sequences) override {
    layer_ = (layer_ + 1) % layers_;
    for (int64_t r = 0; r < sequences[0].rows; ++r) {
      kept_[{layer_, sequences[0].first_position + r}] = {{k.row(r), k.row(r) + k.cols}, {v.row(r), v.row(r) + v.cols}};
    }
  }
  void Attention(Rows q, int heads, float scale, bool, std::span<const SequenceRows> sequences, Rows out) override {
    const KvPages& kv = sequences[0].pages;
    for (int64_t r = 0; r < sequences[0].rows; ++r) {
      for (int head = 0; head < heads; ++head) {
        AttendOne(q.row(r) + head * kv.head_dim, sequences[0].first_position + r, head / (heads / kv.kv_heads), kv,
                  scale, out.row(r) + head * kv.head_dim);
      }
    }
  }

 private:
  struct Entry {
    std::vector<float> k, v;
  };
  void AttendOne(const float* q, int64_t position, int kv_head, const KvPages& kv, float scale, float* out) const {
    const int64_t hidden_end = window_.sinks + window_.Dropped(position);
    std::vector<double> sum(static_cast<size_t>(kv.head_dim));
    double weights = 0;
    for (int64_t other = 0; other <= position; ++other) {
      if (other >= window_.sinks && other < hidden_end) continue;
      const Entry& entry = kept_.at({layer_, other});
      double score = 0;
      for (int d = 0; d < kv.head_dim; ++d) {
        score += double{q[d]} * double{entry.k[static_cast<size_t>(kv_head * kv.head_dim + d)]};
      }
      const double weight = std::exp(score * double{scale} - 20.0);
      weights += weight;
      for (size_t d = 0; d < sum.size(); ++d) {
        sum[d] += weight * double{entry.v[static_cast<size_t>(kv_head * kv.head_dim) + d]};
      }
    }
    for (size_t d = 0; d < sum.size(); ++d) out[d] = static_cast<float>(sum[d] / weights);
  }

  std::unique_ptr<Backend> backend_;
  const AttentionWindow window_;
  const int layers_;
  int layer_ = -1;
  std::map<std::pair<int, int64_t>, Entry> kept_;
};

class WindowModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto checkpoint = Checkpoint::Open(kTinyModel);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    checkpoint_ = std::make_unique<Checkpoint>(std::move(checkpoint).value());
    config_ = *Model::ReadConfig(*checkpoint_);
    limits_.max_context = kContext;
    limits_.page_tokens = 32;
  }
  std::unique_ptr<Backend> CpuBackend(const char* target) {
    return MakeCpuBackend(**SelectKernels(target, DetectCpuFeatures()), &threads_);
  }
  // Logits of every position that ends a chunk; chunks are cut where the window moves, as the scheduler does it.
  std::map<int64_t, std::vector<float>> Run(Backend& backend, const AttentionWindow& window, bool drop, int64_t chunk,
                                            KvTypes types = {DType::kF32, DType::kF32}) {
    auto model = *Model::Load(*checkpoint_, backend, limits_);
    PagePool pool = *PagePool::Create(backend, *config_.KvLayoutFor(types), kContext / limits_.page_tokens);
    PageTable table(&pool);
    std::map<int64_t, std::vector<float>> logits;
    const int64_t size = static_cast<int64_t>(tokens_.size());
    int64_t most_pages = 0;
    for (int64_t begin = 0, end; begin < size; begin = end) {
      end = std::min(window.NextDrop(begin, size), begin + chunk);
      if (drop) table.Drop(window.sinks, window.Dropped(begin));
      EXPECT_TRUE(table.Reserve(end).ok());
      most_pages = std::max(most_pages, static_cast<int64_t>(table.pages().size()));
      std::vector<float>& row = logits[end - 1];
      row.resize(static_cast<size_t>(config_.vocab));
      const auto tokens = std::span(tokens_).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
      const SequenceStep step{tokens, begin, &table, Phase::kPrompt, LogitRows::kLast};
      EXPECT_TRUE(model->Forward({&step, 1}, row).ok());
    }
    EXPECT_LE(most_pages, ((drop ? window.MostTokens(size) : size) + 31) / 32);
    return logits;
  }

  ThreadPool threads_{1};
  std::unique_ptr<Checkpoint> checkpoint_;
  ModelConfig config_;
  ModelLimits limits_;
  std::vector<int32_t> tokens_ = SomeTokens(330);
};

TEST_F(WindowModelTest, LogitsAreThoseOfAMaskOverTheWholeCache) {
  const AttentionWindow window = AttentionWindow::For(20, 5, 32);
  tokens_.resize(130);
  const auto backend = CpuBackend("ref");
  const auto windowed = Run(*backend, window, true, 30);
  MaskedBackend masked(CpuBackend("ref"), window, config_.layers);
  const auto expected = Run(masked, window, false, 30);
  MaskedBackend unmasked(CpuBackend("ref"), {}, config_.layers);
  const auto everything = Run(unmasked, window, false, 30);
  ASSERT_GT(windowed.size(), 4u);
  double largest = 0, without_mask = 0;
  for (const auto& [position, row] : windowed) {
    for (size_t i = 0; i < row.size(); ++i) {
      largest = std::max(largest, std::abs(double{row[i]} - double{expected.at(position)[i]}));
      without_mask = std::max(without_mask, std::abs(double{row[i]} - double{everything.at(position)[i]}));
    }
  }
  EXPECT_LT(largest, 1e-3);
  EXPECT_GT(without_mask, 0.1) << "the mask makes a difference";
}

TEST_F(WindowModelTest, NothingDependsOnTheChunks) {
  const AttentionWindow window = AttentionWindow::For(64, 32, 32);
  const auto backend = CpuBackend("");
  for (const KvTypes types : {KvTypes{DType::kF16, DType::kF16}, KvTypes{DType::kQ8_0, DType::kQ4_0}}) {
    const auto all = Run(*backend, window, true, 512, types);
    for (const int64_t chunk : {7, 33, 100}) {
      const auto some = Run(*backend, window, true, chunk, types);
      int compared = 0;
      for (const auto& [position, row] : all) {
        const auto same = some.find(position);
        if (same == some.end()) continue;
        EXPECT_EQ(row, same->second) << "position " << position << ", chunk " << chunk;
        ++compared;
      }
      EXPECT_GT(compared, 5);
    }
  }
}

// Texts of an engine whose cache is far smaller than what its sequences hold, and of one that has room: the first has
// to preempt.
TEST(WindowEngine, TextsDoNotDependOnNeighboursPrefixesOrPreemption) {
  EngineOptions options{.context = 600, .kv_tokens = 2048, .kv_types = {DType::kQ8_0, DType::kQ8_0}};
  options.window = AttentionWindow::For(64, 32, 32);
  options.prefix = PrefixReuse::kOff;
  const std::vector<int64_t> prompts = {40, 120, 200};
  const TinyAnswers roomy = AnswersOfTinyModel(options, prompts);
  EXPECT_EQ(roomy.stats.preempted, 0);
  options.kv_tokens = 4 * 32;
  EXPECT_EQ(AnswersOfTinyModel(options, prompts).texts, roomy.texts);
  options.prompt_chunk = 40;
  options.prefix = PrefixReuse::kPrompts;
  int64_t preempted = 0;
  for (int64_t pages = 7; pages <= 13; ++pages) {
    options.kv_tokens = pages * 32;
    const TinyAnswers narrow = AnswersOfTinyModel(options, prompts);
    EXPECT_EQ(narrow.texts, roomy.texts) << pages;
    preempted += narrow.stats.preempted;
  }
  EXPECT_GT(preempted, 0);
}

}  // namespace
}  // namespace inkstone

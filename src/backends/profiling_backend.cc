#include "backends/profiling_backend.h"

#include <utility>

namespace inkstone {
namespace {

class ProfilingBackend final : public Backend {
 public:
  ProfilingBackend(std::unique_ptr<Backend> backend, OperationCosts* costs)
      : backend_(std::move(backend)), costs_(*costs) {}

  std::string_view name() const override { return backend_->name(); }
  Result<DeviceBuffer> Allocate(size_t bytes) override { return backend_->Allocate(bytes); }
  ThreadBinding BindCaller() override { return backend_->BindCaller(); }
  Status Reserve(const BackendLimits& limits) override { return backend_->Reserve(limits); }
  size_t ReserveBytes(const BackendLimits& limits) const override { return backend_->ReserveBytes(limits); }

  void Embed(const WeightView& table, std::span<const int32_t> tokens, Rows out) override {
    Time("embedding", [&] { backend_->Embed(table, tokens, out); });
  }
  void RmsNorm(Rows x, const float* weight, float eps, Rows out) override {
    Time("norm", [&] { backend_->RmsNorm(x, weight, eps, out); });
  }
  void MatMul(Rows x, StepShape shape, std::span<const MatMulTarget> targets) override {
    int64_t rows = 0;
    int64_t bytes = 0;
    for (const MatMulTarget& t : targets) {
      rows += t.w.rows;
      bytes += t.w.rows * t.w.row_bytes();
    }
    OperationCost& cost = Time("product " + std::to_string(x.cols) + " -> " + std::to_string(rows),
                               [&] { backend_->MatMul(x, shape, targets); });
    cost.weight_bytes += static_cast<double>(bytes);
    cost.flops += 2.0 * static_cast<double>(rows) * static_cast<double>(x.cols) * static_cast<double>(x.rows);
  }
  void NormRope(Rows x, int head_dim, const float* norm, float eps, const RopeAngles& angles) override {
    Time("head norm and rotation", [&] { backend_->NormRope(x, head_dim, norm, eps, angles); });
  }
  void StoreKv(Rows k, Rows v, std::span<const SequenceRows> sequences) override {
    Time("store keys and values", [&] { backend_->StoreKv(k, v, sequences); });
  }
  void Attention(Rows q, int heads, float scale, bool exact, std::span<const SequenceRows> sequences,
                 Rows out) override {
    Time("attention", [&] { backend_->Attention(q, heads, scale, exact, sequences, out); });
  }
  void SiluMul(Rows gate, Rows up, Rows out) override {
    Time("silu", [&] { backend_->SiluMul(gate, up, out); });
  }

 private:
  template <typename Operation>
  OperationCost& Time(const std::string& name, const Operation& operation) {
    const auto start = std::chrono::steady_clock::now();
    operation();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    OperationCost& cost = costs_[name];
    ++cost.calls;
    cost.seconds += elapsed.count();
    return cost;
  }

  std::unique_ptr<Backend> backend_;
  OperationCosts& costs_;
};

}  // namespace

std::unique_ptr<Backend> MakeProfilingBackend(std::unique_ptr<Backend> backend, OperationCosts* costs) {
  return std::make_unique<ProfilingBackend>(std::move(backend), costs);
}

}  // namespace inkstone

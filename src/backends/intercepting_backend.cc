#include "backends/intercepting_backend.h"

#include <utility>
#include <vector>

namespace inkstone {
namespace {

class InterceptingBackend final : public Backend {
 public:
  InterceptingBackend(std::unique_ptr<Backend> backend, const Interception* interception)
      : backend_(std::move(backend)), interception_(*interception) {}

  std::string_view name() const override { return backend_->name(); }
  Result<DeviceBuffer> Allocate(size_t bytes) override { return backend_->Allocate(bytes); }
  ThreadBinding BindCaller() override { return backend_->BindCaller(); }
  Status Reserve(const BackendLimits& limits) override { return backend_->Reserve(limits); }
  size_t ReserveBytes(const BackendLimits& limits) const override { return backend_->ReserveBytes(limits); }

  void Embed(const WeightView& table, std::span<const int32_t> tokens, Rows out) override {
    backend_->Embed(Replaced(table), tokens, out);
  }
  void MatMul(Rows x, StepShape shape, std::span<const MatMulTarget> targets) override {
    if (interception_.observe) interception_.observe(x, targets);
    targets_.assign(targets.begin(), targets.end());
    for (MatMulTarget& target : targets_) target.w = Replaced(target.w);
    backend_->MatMul(x, shape, targets_);
  }
  void RmsNorm(Rows x, const float* weight, float eps, Rows out) override { backend_->RmsNorm(x, weight, eps, out); }
  void NormRope(Rows x, int head_dim, const float* norm, float eps, const RopeAngles& angles) override {
    backend_->NormRope(x, head_dim, norm, eps, angles);
  }
  void StoreKv(Rows k, Rows v, std::span<const SequenceRows> sequences) override { backend_->StoreKv(k, v, sequences); }
  void Attention(Rows q, int heads, float scale, bool exact, std::span<const SequenceRows> sequences,
                 Rows out) override {
    backend_->Attention(q, heads, scale, exact, sequences, out);
  }
  void SiluMul(Rows gate, Rows up, Rows out) override { backend_->SiluMul(gate, up, out); }

 private:
  const WeightView& Replaced(const WeightView& w) const {
    const auto found = interception_.replacements.find(w.data);
    return found == interception_.replacements.end() ? w : found->second;
  }

  std::unique_ptr<Backend> backend_;
  const Interception& interception_;
  std::vector<MatMulTarget> targets_;
};

}  // namespace

std::unique_ptr<Backend> MakeInterceptingBackend(std::unique_ptr<Backend> backend, const Interception* interception) {
  return std::make_unique<InterceptingBackend>(std::move(backend), interception);
}

}  // namespace inkstone

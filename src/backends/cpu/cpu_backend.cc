#include "backends/cpu/cpu_backend.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/kv_vector.h"

namespace inkstone {
namespace {

constexpr size_t kAlignment = 64;
// Row-wise work below this many values runs on the calling thread: a fork-join costs about as much.
constexpr int64_t kInlineValues = 16 * 1024;
// Query rows of a prompt that one attention task takes.
constexpr int64_t kAttentionRows = 64;
// Pieces per thread of a product: enough to even out uneven cores, few enough to keep each stream of weights long.
constexpr int64_t kPiecesPerThread = 16;
constexpr std::array kFormats = {ActivationFormat::kF32, ActivationFormat::kQ15, ActivationFormat::kSteps,
                                 ActivationFormat::kBF16, ActivationFormat::kSplit};
constexpr std::array<Phase, 2> kPhases = {Phase::kPrompt, Phase::kDecode};

size_t RoundUp(size_t value, size_t step) { return (value + step - 1) / step * step; }

class CpuBackend final : public Backend {
 public:
  CpuBackend(const KernelTable& kernels, ThreadPool* pool)
      : kernels_(kernels), pool_(*pool), name_("cpu/" + std::string(kernels.target)) {}

  std::string_view name() const override { return name_; }
  Result<DeviceBuffer> Allocate(size_t bytes) override { return DeviceBuffer::Map(bytes); }
  ThreadBinding BindCaller() override { return pool_.BindCaller(); }
  Status Reserve(const BackendLimits& limits) override;
  size_t ReserveBytes(const BackendLimits& limits) const override;
  std::span<const std::byte> memory() const override { return {memory_.data(), memory_.size()}; }

  void Embed(const WeightView& table, std::span<const int32_t> tokens, Rows out) override;
  void RmsNorm(Rows x, const float* weight, float eps, Rows out) override;
  void MatMul(Rows x, StepShape shape, std::span<const MatMulTarget> targets) override;
  void NormRope(Rows x, int head_dim, const float* norm, float eps, const RopeAngles& angles) override;
  void StoreKv(Rows k, Rows v, std::span<const SequenceRows> sequences) override;
  void Attention(Rows q, int heads, float scale, bool exact, std::span<const SequenceRows> sequences,
                 Rows out) override;
  void SiluMul(Rows gate, Rows up, Rows out) override;

 private:
  // Rows [first, first + count) of a step, all of one phase.
  struct PhaseRows {
    Phase phase;
    int64_t first;
    int64_t count;
  };
  struct AttentionTask {
    const SequenceRows* sequence;
    int64_t first_item;  // items: KV heads x blocks of query rows
  };

  size_t PackedBytes(const BackendLimits& limits) const;
  size_t ScratchBytes(const BackendLimits& limits) const;
  std::byte* scratch(int thread) const {
    return memory_.data() + packed_bytes_ + scratch_bytes_ * static_cast<size_t>(thread);
  }

  // Calls body(begin, end) over rows, on several threads when there is enough to do.
  void ForRows(int64_t rows, int64_t cols, FunctionRef<void(int64_t, int64_t)> body);
  void Pack(ActivationFormat format, const PhaseRows& rows, Rows x);
  void MatMulPacked(ActivationFormat format, const PhaseRows& rows, std::span<const MatMulTarget> targets);
  // `heads` keys or queries from x on, if the keys' type is stored rotated.
  void RotateKeys(const KvPages& pages, float* x, int64_t heads) const;
  // One position's vectors of every KV head.
  void StoreRow(const KvPages& pages, DType type, const float* row, std::byte* page, int64_t slot) const;
  void AttendItem(const SequenceRows& sequence, Rows q, int heads, float scale, bool exact, Rows out, int64_t item,
                  int thread) const;

  const KernelTable& kernels_;
  ThreadPool& pool_;
  std::string name_;
  DeviceBuffer memory_;  // packed activations, then one scratch area for each thread
  size_t packed_bytes_ = 0;
  size_t scratch_bytes_ = 0;
  std::vector<AttentionTask> attention_tasks_;
};

size_t CpuBackend::PackedBytes(const BackendLimits& limits) const {
  size_t bytes = 0;
  for (const ActivationFormat format : kFormats) {
    for (const Phase phase : kPhases)
      bytes = std::max(bytes, kernels_.packed_bytes(format, phase, limits.max_rows, limits.max_cols));
  }
  return RoundUp(bytes, kAlignment);
}

size_t CpuBackend::ScratchBytes(const BackendLimits& limits) const {
  size_t bytes = kernels_.attention_scratch_bytes(limits.heads_per_kv, limits.head_dim, limits.page_tokens);
  for (const DTypeInfo& type : AllDTypes()) {
    for (const Phase phase : kPhases)
      bytes = std::max(bytes, kernels_.matmul_scratch_bytes(type.type, phase, limits.max_cols));
  }
  return RoundUp(bytes, kAlignment);
}

size_t CpuBackend::ReserveBytes(const BackendLimits& limits) const {
  return PackedBytes(limits) + ScratchBytes(limits) * static_cast<size_t>(pool_.size());
}

Status CpuBackend::Reserve(const BackendLimits& limits) {
  packed_bytes_ = PackedBytes(limits);
  scratch_bytes_ = ScratchBytes(limits);
  INK_ASSIGN_OR_RETURN(memory_, Allocate(packed_bytes_ + scratch_bytes_ * static_cast<size_t>(pool_.size())));
  attention_tasks_.reserve(static_cast<size_t>(limits.max_sequences));
  return Status::Ok();
}

void CpuBackend::ForRows(int64_t rows, int64_t cols, FunctionRef<void(int64_t, int64_t)> body) {
  if (rows * cols <= kInlineValues || pool_.size() == 1) return body(0, rows);
  const int64_t grain = std::max<int64_t>(
      1, std::max(kInlineValues / 4 / std::max<int64_t>(cols, 1), rows / (pool_.size() * kPiecesPerThread)));
  pool_.ParallelFor(rows, grain, [&](int64_t begin, int64_t end, int) { body(begin, end); });
}

void CpuBackend::Embed(const WeightView& table, std::span<const int32_t> tokens, Rows out) {
  ForRows(static_cast<int64_t>(tokens.size()), table.cols, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      kernels_.decode_row(table.dtype, table.row(tokens[static_cast<size_t>(r)]), table.cols, out.row(r));
    }
  });
}

void CpuBackend::RmsNorm(Rows x, const float* weight, float eps, Rows out) {
  ForRows(x.rows, x.cols, [&](int64_t begin, int64_t end) {
    kernels_.rms_norm(x.row(begin), x.stride, weight, eps, end - begin, x.cols, out.row(begin), out.stride);
  });
}

void CpuBackend::Pack(ActivationFormat format, const PhaseRows& rows, Rows x) {
  const auto pack = [&](int64_t begin, int64_t end) {
    kernels_.pack(format, rows.phase, x.row(rows.first), x.stride, rows.count, x.cols, begin, end, memory_.data());
  };
  if (rows.count * x.cols <= kInlineValues || pool_.size() == 1) return pack(0, rows.count);
  const int64_t step = kernels_.pack_grain(format, rows.phase);
  const int64_t share = (rows.count + pool_.size() * 2 - 1) / (pool_.size() * 2);
  pool_.ParallelFor(rows.count, (share + step - 1) / step * step,
                    [&](int64_t begin, int64_t end, int) { pack(begin, end); });
}

void CpuBackend::MatMul(Rows x, StepShape shape, std::span<const MatMulTarget> targets) {
  const std::array<PhaseRows, 2> phases = {PhaseRows{Phase::kPrompt, 0, shape.prompt_rows},
                                           PhaseRows{Phase::kDecode, shape.prompt_rows, shape.decode_rows}};
  for (const PhaseRows& rows : phases) {
    if (rows.count == 0) continue;
    for (const ActivationFormat format : kFormats) {
      const auto uses = [&](const MatMulTarget& t) {
        return kernels_.activation_format(t.w.dtype, rows.phase) == format;
      };
      if (std::none_of(targets.begin(), targets.end(), uses)) continue;
      Pack(format, rows, x);
      MatMulPacked(format, rows, targets);
    }
  }
}

void CpuBackend::MatMulPacked(ActivationFormat format, const PhaseRows& rows, std::span<const MatMulTarget> targets) {
  // The targets' rows, cut into pieces and numbered through, so that one fork-join serves all of them.
  int64_t total_rows = 0;
  for (const MatMulTarget& t : targets) total_rows += t.w.rows;
  const int64_t share = std::max<int64_t>(1, total_rows / (pool_.size() * kPiecesPerThread));
  const auto piece_rows = [&](const MatMulTarget& t) {
    const int64_t grain = kernels_.row_grain(t.w.dtype, rows.phase);
    return (share + grain - 1) / grain * grain;
  };
  const auto pieces = [&](const MatMulTarget& t) {
    if (kernels_.activation_format(t.w.dtype, rows.phase) != format) return int64_t{0};
    return (t.w.rows + piece_rows(t) - 1) / piece_rows(t);
  };
  int64_t total = 0;
  for (const MatMulTarget& t : targets) total += pieces(t);
  pool_.ParallelFor(total, 1, [&](int64_t piece, int64_t, int thread) {
    size_t i = 0;
    while (piece >= pieces(targets[i])) piece -= pieces(targets[i++]);
    const MatMulTarget& t = targets[i];
    const MatMulOp op{t.w,        rows.phase, memory_.data(), rows.count, t.y.row(rows.first),
                      t.y.stride, t.bias,     t.accumulate};
    const int64_t begin = piece * piece_rows(t);
    kernels_.matmul(op, begin, std::min(begin + piece_rows(t), t.w.rows), scratch(thread));
  });
}

void CpuBackend::NormRope(Rows x, int head_dim, const float* norm, float eps, const RopeAngles& angles) {
  const int heads = static_cast<int>(x.cols / head_dim);
  ForRows(x.rows, x.cols, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* row = x.row(r);
      if (norm != nullptr) kernels_.rms_norm(row, head_dim, norm, eps, heads, head_dim, row, head_dim);
      const int64_t offset = r * (head_dim / 2);
      kernels_.rope(row, heads, head_dim, angles.cos + offset, angles.sin + offset, angles.interleaved);
    }
  });
}

void CpuBackend::RotateKeys(const KvPages& pages, float* x, int64_t heads) const {
  if (KvKeysRotated(pages.types.k)) kernels_.hadamard(x, heads * pages.head_dim, HadamardBlock(pages.head_dim));
}

void CpuBackend::StoreRow(const KvPages& pages, DType type, const float* row, std::byte* page, int64_t slot) const {
  const int64_t bytes = KvVectorBytes(type, pages.head_dim);
  for (int64_t head = 0; head < pages.kv_heads; ++head) {
    kernels_.store(row + head * pages.head_dim, type, pages.head_dim, page + (head * pages.page_tokens + slot) * bytes);
  }
}

void CpuBackend::StoreKv(Rows k, Rows v, std::span<const SequenceRows> sequences) {
  for (const SequenceRows& s : sequences) {
    const KvPages& pages = s.pages;
    ForRows(s.rows, k.cols * 2, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t position = s.first_position + r;
        const size_t page = static_cast<size_t>(position / pages.page_tokens);
        const int64_t slot = position % pages.page_tokens;
        RotateKeys(pages, k.row(s.first_row + r), pages.kv_heads);
        StoreRow(pages, pages.types.k, k.row(s.first_row + r), pages.k[page], slot);
        StoreRow(pages, pages.types.v, v.row(s.first_row + r), pages.v[page], slot);
      }
    });
  }
}

void CpuBackend::AttendItem(const SequenceRows& sequence, Rows q, int heads, float scale, bool exact, Rows out,
                            int64_t item, int thread) const {
  const KvPages& pages = sequence.pages;
  const int kv_head = static_cast<int>(item % pages.kv_heads);
  const int64_t begin = item / pages.kv_heads * kAttentionRows;
  const int64_t end = std::min(begin + kAttentionRows, sequence.rows);
  const AttentionOp op{sequence.phase,
                       q.row(sequence.first_row),
                       q.stride,
                       out.row(sequence.first_row),
                       out.stride,
                       sequence.rows,
                       sequence.first_position,
                       heads,
                       pages.kv_heads,
                       pages.head_dim,
                       scale,
                       pages.types,
                       exact,
                       pages.page_tokens,
                       pages.k.data(),
                       pages.v.data()};
  const int64_t group = heads / pages.kv_heads;
  const int64_t column = kv_head * group * pages.head_dim;
  for (int64_t r = sequence.first_row + begin; r < sequence.first_row + end; ++r)
    RotateKeys(pages, q.row(r) + column, group);
  kernels_.attention(op, kv_head, kv_head + 1, begin, end, scratch(thread));
}

void CpuBackend::Attention(Rows q, int heads, float scale, bool exact, std::span<const SequenceRows> sequences,
                           Rows out) {
  attention_tasks_.clear();
  int64_t items = 0;
  for (const SequenceRows& s : sequences) {
    attention_tasks_.push_back({&s, items});
    items += (s.rows + kAttentionRows - 1) / kAttentionRows * s.pages.kv_heads;
  }
  pool_.ParallelFor(items, 1, [&](int64_t item, int64_t, int thread) {
    const auto next = std::upper_bound(attention_tasks_.begin(), attention_tasks_.end(), item,
                                       [](int64_t value, const AttentionTask& t) { return value < t.first_item; });
    const AttentionTask& task = *(next - 1);
    AttendItem(*task.sequence, q, heads, scale, exact, out, item - task.first_item, thread);
  });
}

void CpuBackend::SiluMul(Rows gate, Rows up, Rows out) {
  ForRows(gate.rows, gate.cols, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) kernels_.silu_mul(gate.row(r), up.row(r), gate.cols, out.row(r));
  });
}

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(const KernelTable& kernels, ThreadPool* pool) {
  return std::make_unique<CpuBackend>(kernels, pool);
}

}  // namespace inkstone

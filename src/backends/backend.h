// The operations that a model's forward pass is written in, and the memory they work on. One implementation per device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "core/dtype.h"
#include "core/kv_vector.h"
#include "core/status.h"
#include "core/thread_binding.h"
#include "kernels/kernels.h"

namespace inkstone {

// f32 rows in the backend's memory, borrowed: element (r, c) is data[r * stride + c].
struct Rows {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  float* row(int64_t r) const { return data + r * stride; }
  Rows Slice(int64_t begin, int64_t count) const { return {row(begin), count, cols, stride}; }
};

// Memory of the backend, released with the object. Pages are zero and not resident until touched.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // Anonymous memory of this process; kResourceExhausted when the system has none.
  static Result<DeviceBuffer> Map(size_t bytes);
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  ~DeviceBuffer();
  // The system pages that lie wholly within the range go back to the system; they read as zero when touched again.
  void GiveBack(size_t offset, size_t bytes);
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  DeviceBuffer(std::byte* data, size_t size) : data_(data), size_(size) {}

  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// A step's rows: the prompt rows come first, then the decode rows.
struct StepShape {
  int64_t prompt_rows = 0;
  int64_t decode_rows = 0;
  int64_t rows() const { return prompt_rows + decode_rows; }
};

// One output of a product; several that share an input are computed together.
struct MatMulTarget {
  WeightView w;
  const float* bias = nullptr;  // (w.rows) or null
  Rows y;                       // (rows of x, w.rows)
  bool accumulate = false;      // y += instead of y =
};

// Per-row rotary angles: (rows, head_dim / 2) each.
struct RopeAngles {
  const float* cos = nullptr;
  const float* sin = nullptr;
  bool interleaved = false;  // pairs (2i, 2i+1) instead of (i, i + head_dim/2)
};

// Where one sequence's keys and values of one layer live.
struct KvPages {
  KvTypes types = {};
  int page_tokens = 0;
  int kv_heads = 0;
  int head_dim = 0;
  std::span<std::byte* const> k;  // one pointer per page: (kv_heads, page_tokens) vectors (core/kv_vector.h)
  std::span<std::byte* const> v;
};

// One sequence's new rows within a step.
struct SequenceRows {
  Phase phase = Phase::kDecode;
  int64_t first_row = 0;  // in the step
  int64_t rows = 0;
  int64_t first_position = 0;  // among those in the pages
  KvPages pages;
};

// The largest step that a model runs.
struct BackendLimits {
  int64_t max_rows = 0;       // of one step
  int64_t max_sequences = 0;  // in one step
  int64_t max_pages = 0;      // of one sequence
  int64_t max_cols = 0;       // columns of the widest product
  int heads_per_kv = 1;
  int head_dim = 0;
  int page_tokens = 0;
};

// Not thread-safe: one engine thread drives a backend. No operation allocates after Reserve.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;  // "cpu/avx512vnni"
  virtual Result<DeviceBuffer> Allocate(size_t bytes) = 0;
  // For as long as the calling thread drives the backend: keeps it where that goes fastest. It should start no threads
  // meanwhile, as they would share its place.
  virtual ThreadBinding BindCaller() { return ThreadBinding(std::span<const int>()); }
  // Makes room for steps within `limits`.
  virtual Status Reserve(const BackendLimits& limits) = 0;
  // Bytes that Reserve takes.
  virtual size_t ReserveBytes(const BackendLimits& limits) const = 0;
  // The memory that Reserve took, in this process.
  virtual std::span<const std::byte> memory() const { return {}; }

  // out[r] = decoded row tokens[r] of `table`. Token ids must be within the table.
  virtual void Embed(const WeightView& table, std::span<const int32_t> tokens, Rows out) = 0;
  virtual void RmsNorm(Rows x, const float* weight, float eps, Rows out) = 0;
  // y[r] = w x[r] (+ bias) for every target; all targets have x.cols columns. Rows are split by phase as `shape` says.
  virtual void MatMul(Rows x, StepShape shape, std::span<const MatMulTarget> targets) = 0;
  // Per head of each row: RMSNorm with `norm` (head_dim) unless null, then rotation. x.cols = heads * head_dim.
  virtual void NormRope(Rows x, int head_dim, const float* norm, float eps, const RopeAngles& angles) = 0;
  // Writes the sequences' new keys and values ((rows, kv_heads * head_dim) each) to their pages. k holds nothing of use
  // afterwards: keys that are stored rotated are rotated in place.
  virtual void StoreKv(Rows k, Rows v, std::span<const SequenceRows> sequences) = 0;
  // out = causal attention of each sequence's rows over its pages, the new rows included. q holds nothing of use
  // afterwards: it is rotated in place like the keys. exact: as in AttentionOp.
  virtual void Attention(Rows q, int heads, float scale, bool exact, std::span<const SequenceRows> sequences,
                         Rows out) = 0;
  virtual void SiluMul(Rows gate, Rows up, Rows out) = 0;
};

}  // namespace inkstone

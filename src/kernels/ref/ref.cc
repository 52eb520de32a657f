#include "kernels/ref/ref.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/kv_vector.h"
#include "kernels/q8.h"
#include "quant/codec.h"

namespace inkstone {
namespace {

// Plain arithmetic: activations stay as they are.
ActivationFormat FormatFor(DType, Phase) { return ActivationFormat::kF32; }

size_t PackedBytes(ActivationFormat, Phase, int64_t tokens, int64_t cols) {
  return static_cast<size_t>(tokens * cols) * sizeof(float);
}

void Pack(ActivationFormat, Phase, const float* x, int64_t x_stride, int64_t, int64_t cols, int64_t token_begin,
          int64_t token_end, void* packed) {
  for (int64_t t = token_begin; t < token_end; ++t) {
    std::copy_n(x + t * x_stride, cols, static_cast<float*>(packed) + t * cols);
  }
}

int64_t PackGrain(ActivationFormat, Phase) { return 1; }
size_t MatMulScratchBytes(DType, Phase, int64_t cols) { return static_cast<size_t>(cols) * sizeof(float); }
int64_t RowGrain(DType, Phase) { return 1; }

double Dot(const float* w, const float* x, int64_t cols) {
  double sum = 0;
  for (int64_t i = 0; i < cols; ++i) sum += static_cast<double>(w[i]) * static_cast<double>(x[i]);
  return sum;
}

void MatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  auto* w = static_cast<float*>(scratch);  // one decoded row
  for (int64_t r = row_begin; r < row_end; ++r) {
    DecodeRow(op.w.dtype, op.w.row(r), op.w.cols, w);
    for (int64_t t = 0; t < op.tokens; ++t) {
      const float* x = static_cast<const float*>(op.activations) + t * op.w.cols;
      float* y = op.y + t * op.y_stride + r;
      double sum = Dot(w, x, op.w.cols);
      if (op.bias != nullptr) sum += op.bias[r];
      if (op.accumulate) sum += *y;
      *y = static_cast<float>(sum);
    }
  }
}

// Element d of a cached vector.
float LoadKv(DType type, const std::byte* vector, int64_t d, int64_t head_dim) {
  float value;
  if (type != DType::kQ8_0) {
    const auto bytes = RowBytes(type, 1);
    DecodeRow(type, vector + d * bytes, 1, &value);
    return value;
  }
  std::memcpy(&value, vector + head_dim + d / kKvGroup * static_cast<int64_t>(sizeof(float)), sizeof(value));
  return value * static_cast<float>(static_cast<int8_t>(vector[d]));
}

size_t AttentionScratchBytes(int, int head_dim, int) { return static_cast<size_t>(head_dim) * sizeof(double); }

// One query head over positions 0 .. last: softmax with a running maximum (Milakov & Gimelshein 2018).
void AttendOne(const AttentionOp& op, const float* q, int kv_head, int64_t last, double* acc, float* out) {
  std::fill_n(acc, op.head_dim, 0.0);
  double max = -std::numeric_limits<double>::infinity();
  double total = 0;
  for (int64_t p = 0; p <= last; ++p) {
    const int64_t page = p / op.page_tokens;
    const int64_t at =
        (kv_head * static_cast<int64_t>(op.page_tokens) + p % op.page_tokens) * KvVectorBytes(op.kv_type, op.head_dim);
    double score = 0;
    for (int d = 0; d < op.head_dim; ++d)
      score += static_cast<double>(q[d]) * LoadKv(op.kv_type, op.k_pages[page] + at, d, op.head_dim);
    score *= op.scale;
    const double new_max = std::max(max, score);
    const double shrink = std::exp(max - new_max);
    const double weight = std::exp(score - new_max);
    total = total * shrink + weight;
    for (int d = 0; d < op.head_dim; ++d)
      acc[d] = acc[d] * shrink + weight * LoadKv(op.kv_type, op.v_pages[page] + at, d, op.head_dim);
    max = new_max;
  }
  for (int d = 0; d < op.head_dim; ++d) out[d] = static_cast<float>(acc[d] / total);
}

void Attention(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin, int64_t token_end,
               void* scratch) {
  const int group = op.heads / op.kv_heads;
  for (int64_t t = token_begin; t < token_end; ++t) {
    for (int h = kv_head_begin * group; h < kv_head_end * group; ++h) {
      AttendOne(op, op.q + t * op.q_stride + h * op.head_dim, h / group, op.first_position + t,
                static_cast<double*>(scratch), op.out + t * op.out_stride + h * op.head_dim);
    }
  }
}

void RmsNorm(const float* x, int64_t x_stride, const float* weight, float eps, int64_t rows, int64_t cols, float* out,
             int64_t out_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = x + r * x_stride;
    double sum = 0;
    for (int64_t i = 0; i < cols; ++i) sum += static_cast<double>(in[i]) * in[i];
    const double inverse = 1.0 / std::sqrt(sum / static_cast<double>(cols) + eps);
    for (int64_t i = 0; i < cols; ++i) out[r * out_stride + i] = static_cast<float>(in[i] * inverse * weight[i]);
  }
}

void Rope(float* x, int heads, int head_dim, const float* cos, const float* sin, bool interleaved) {
  const int half = head_dim / 2;
  for (int h = 0; h < heads; ++h, x += head_dim) {
    for (int i = 0; i < half; ++i) {
      float& a = interleaved ? x[2 * i] : x[i];
      float& b = interleaved ? x[2 * i + 1] : x[i + half];
      const float rotated = a * cos[i] - b * sin[i];
      b = b * cos[i] + a * sin[i];
      a = rotated;
    }
  }
}

void SiluMul(const float* gate, const float* up, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const double g = gate[i];
    out[i] = static_cast<float>(g / (1.0 + std::exp(-g)) * up[i]);
  }
}

void Store(const float* src, DType type, int64_t count, std::byte* dst) {
  if (type != DType::kQ8_0) return EncodeRow(type, src, count, dst);
  for (int64_t i = 0; i < count; i += kKvGroup) {
    float amax = 0;
    for (int64_t k = i; k < i + kKvGroup; ++k) amax = std::max(amax, std::fabs(src[k]));
    const bool zero = amax < kQ8Smallest;
    const float scale = zero ? 0.0f : amax / 127.0f, inverse = zero ? 0.0f : 127.0f / amax;
    std::memcpy(dst + count + i / kKvGroup * static_cast<int64_t>(sizeof(float)), &scale, sizeof(scale));
    for (int64_t k = i; k < i + kKvGroup; ++k) dst[k] = static_cast<std::byte>(std::lrint(src[k] * inverse));
  }
}

}  // namespace

const KernelTable kRefKernels = {
    .target = "ref",
    .activation_format = FormatFor,
    .packed_bytes = PackedBytes,
    .pack = Pack,
    .pack_grain = PackGrain,
    .matmul_scratch_bytes = MatMulScratchBytes,
    .row_grain = RowGrain,
    .matmul = MatMul,
    .multiply_only = nullptr,
    .attention_scratch_bytes = AttentionScratchBytes,
    .attention = Attention,
    .rms_norm = RmsNorm,
    .rope = Rope,
    .silu_mul = SiluMul,
    .store = Store,
    .decode_row = DecodeRow,
};

}  // namespace inkstone

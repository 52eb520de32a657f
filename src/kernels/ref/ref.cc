#include "kernels/ref/ref.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "core/half.h"
#include "core/kv_vector.h"
#include "kernels/q4.h"
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
  if (IsFloat(type)) {
    DecodeRow(type, vector + d * RowBytes(type, 1), 1, &value);
    return value;
  }
  const int64_t group = d / kKvGroup;
  if (type == DType::kQ8_0) {
    std::memcpy(&value, vector + head_dim + group * static_cast<int64_t>(sizeof(float)), sizeof(value));
    return value * static_cast<float>(static_cast<int8_t>(vector[d]));
  }
  uint16_t scale;
  std::memcpy(&scale, vector + head_dim / 2 + group * 2, sizeof(scale));
  constexpr int kHalf = kKvGroup / 2;
  const int at = static_cast<int>(d % kKvGroup);
  const int codes = std::to_integer<int>(vector[group * kHalf + at % kHalf]);
  return BF16ToF32(scale) * static_cast<float>(kQ4Levels[at < kHalf ? codes & 15 : codes >> 4]);
}

size_t AttentionScratchBytes(int, int head_dim, int) { return static_cast<size_t>(head_dim) * sizeof(double); }

// One query head over positions 0 .. last: softmax with a running maximum (Milakov & Gimelshein 2018).
void AttendOne(const AttentionOp& op, const float* q, int kv_head, int64_t last, double* acc, float* out) {
  std::fill_n(acc, op.head_dim, 0.0);
  double max = -std::numeric_limits<double>::infinity();
  double total = 0;
  for (int64_t p = 0; p <= last; ++p) {
    const int64_t page = p / op.page_tokens;
    const int64_t slot = kv_head * static_cast<int64_t>(op.page_tokens) + p % op.page_tokens;
    const std::byte* key = op.k_pages[page] + slot * KvVectorBytes(op.types.k, op.head_dim);
    const std::byte* value = op.v_pages[page] + slot * KvVectorBytes(op.types.v, op.head_dim);
    double score = 0;
    for (int d = 0; d < op.head_dim; ++d) score += static_cast<double>(q[d]) * LoadKv(op.types.k, key, d, op.head_dim);
    score *= op.scale;
    const double new_max = std::max(max, score);
    const double shrink = std::exp(max - new_max);
    const double weight = std::exp(score - new_max);
    total = total * shrink + weight;
    for (int d = 0; d < op.head_dim; ++d) acc[d] = acc[d] * shrink + weight * LoadKv(op.types.v, value, d, op.head_dim);
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

void Hadamard(float* x, int64_t count, int64_t block) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(block));
  for (int64_t i = 0; i < count; ++i) x[i] *= scale;
  for (int64_t distance = 1; distance < block; distance *= 2) {
    for (int64_t i = 0; i < count; ++i) {
      if ((i & distance) != 0) continue;
      const float a = x[i], b = x[i + distance];
      x[i] = a + b;
      x[i + distance] = a - b;
    }
  }
}

void SiluMul(const float* gate, const float* up, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const double g = gate[i];
    out[i] = static_cast<float>(g / (1.0 + std::exp(-g)) * up[i]);
  }
}

float LargestMagnitude(const float* x) {  // of a group
  float amax = 0;
  for (int i = 0; i < kKvGroup; ++i) amax = std::max(amax, std::fabs(x[i]));
  return amax;
}

void StoreQ8(const float* src, int64_t count, std::byte* dst) {
  for (int64_t i = 0; i < count; i += kKvGroup) {
    const float amax = LargestMagnitude(src + i);
    const bool zero = amax < kQ8Smallest;
    const float scale = zero ? 0.0f : amax / 127.0f, inverse = zero ? 0.0f : 127.0f / amax;
    std::memcpy(dst + count + i / kKvGroup * static_cast<int64_t>(sizeof(float)), &scale, sizeof(scale));
    for (int64_t k = i; k < i + kKvGroup; ++k) dst[k] = static_cast<std::byte>(std::lrint(src[k] * inverse));
  }
}

int NearestCode(float value) {
  int code = 0;
  while (code < 15 && value >= Q4Border(code)) ++code;
  return code;
}

// The scale that is best for the levels that are nearest at `scale`, and by how much it lowers the sum of squares.
std::pair<double, double> FitScale(const float* y, double scale) {
  double products = 0, squares = 0;
  for (int i = 0; i < kKvGroup; ++i) {
    const double level = kQ4Levels[NearestCode(static_cast<float>(y[i] / scale))];
    products += y[i] * level;
    squares += level * level;
  }
  return {products / squares, products * products / squares};
}

// kernels/q4.h.
float SearchScale(const float* src, float amax) {
  float y[kKvGroup];
  for (int i = 0; i < kKvGroup; ++i) y[i] = src[i] * (127.0f / amax);
  std::pair<double, double> best = {0, -1};
  for (const float start : kQ4Starts) {
    const auto fit = FitScale(y, start);
    if (fit.second > best.second) best = fit;
  }
  return static_cast<float>(FitScale(y, best.first).first * amax / 127.0);
}

void StoreQ4(const float* src, int64_t count, std::byte* dst) {
  for (int64_t i = 0; i < count; i += kKvGroup) {
    const float amax = LargestMagnitude(src + i);
    const bool zero = amax < kQ8Smallest;
    const uint16_t bits = F32ToBF16(zero ? 0.0f : SearchScale(src + i, amax));
    std::memcpy(dst + count / 2 + i / kKvGroup * 2, &bits, sizeof(bits));
    const float inverse = zero ? 0.0f : 1.0f / BF16ToF32(bits);
    constexpr int kHalf = kKvGroup / 2;
    for (int k = 0; k < kHalf; ++k) {
      const int low = NearestCode(src[i + k] * inverse), high = NearestCode(src[i + kHalf + k] * inverse);
      dst[i / 2 + k] = static_cast<std::byte>(low | high << 4);
    }
  }
}

void Store(const float* src, DType type, int64_t count, std::byte* dst) {
  const auto store = type == DType::kQ8_0 ? StoreQ8 : StoreQ4;
  IsFloat(type) ? EncodeRow(type, src, count, dst) : store(src, count, dst);
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
    .hadamard = Hadamard,
    .silu_mul = SiluMul,
    .store = Store,
    .decode_row = DecodeRow,
};

}  // namespace inkstone

#include "kernels/test_tools.h"

#include "core/half.h"
#include "core/kv_vector.h"
#include "kernels/q4.h"
#include "quant/codec.h"

namespace inkstone::kernel_test {
namespace {

// Byte offsets of a block's f16 scale, and of its second scale or minimum (-1: none).
struct HalfFields {
  int d;
  int min;
};
HalfFields FieldsOf(DType type) {
  switch (type) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108, -1};
    case DType::kQ6_K:
      return {208, -1};
    default:
      return {0, -1};
  }
}

void PutHalf(std::byte* p, float value) {
  const uint16_t h = F32ToF16(value);
  std::memcpy(p, &h, sizeof(h));
}

void FillFloats(DType type, const std::vector<float>& values, std::byte* out) {
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = type == DType::kF16 ? F32ToF16(values[i]) : F32ToBF16(values[i]);
    if (type == DType::kF32) {
      std::memcpy(out + 4 * i, &values[i], 4);
    } else {
      std::memcpy(out + 2 * i, &half, 2);
    }
  }
}

void FillBlocks(DType type, int64_t blocks, Bits bits, unsigned seed, std::byte* out) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> byte(0, 255);
  std::uniform_real_distribution<float> scale(-0.02f, 0.02f);
  const int block_bytes = Info(type).block_bytes;
  for (int64_t b = 0; b < blocks; ++b, out += block_bytes) {
    for (int i = 0; i < block_bytes; ++i) {
      out[i] = static_cast<std::byte>(bits == Bits::kRandom ? byte(random) : bits == Bits::kZero ? 0 : 0xff);
    }
    const HalfFields fields = FieldsOf(type);
    // Now and then zero, subnormal in f16, or large.
    const int kind = static_cast<int>(random() % 16);
    const float d = kind == 0 ? 0.0f : kind == 1 ? 3e-7f : kind == 2 ? 2.0f : scale(random);
    PutHalf(out + fields.d, d);
    if (fields.min >= 0) PutHalf(out + fields.min, scale(random));
  }
}

}  // namespace

std::vector<float> RandomFloats(int64_t count, unsigned seed, float deviation) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

Weights::Weights(DType type, int64_t rows, int64_t cols, Bits bits, unsigned seed) {
  const auto total = static_cast<size_t>(rows * RowBytes(type, cols));
  bytes.resize(total + 2);
  std::byte* data = bytes.data() + 2;
  if (IsFloat(type)) {
    FillFloats(type, RandomFloats(rows * cols, seed, bits == Bits::kZero ? 0.0f : 0.02f), data);
  } else {
    FillBlocks(type, rows * cols / Info(type).block_elements, bits, seed, data);
  }
  view = {type, rows, cols, data};
}

std::vector<float> Multiply(const KernelTable& table, const WeightView& w, const Product& product) {
  const ActivationFormat format = table.activation_format(w.dtype, product.phase);
  const Buffer packed(table.packed_bytes(format, product.phase, product.tokens, w.cols));
  const int64_t grain = table.pack_grain(format, product.phase);
  for (int64_t t = 0; t < product.tokens; t += grain) {
    table.pack(format, product.phase, product.x, w.cols, product.tokens, w.cols, t, std::min(product.tokens, t + grain),
               packed.get());
  }
  const Buffer scratch(table.matmul_scratch_bytes(w.dtype, product.phase, w.cols));
  constexpr int64_t kGap = 3;  // outputs need not be dense
  std::vector<float> y(static_cast<size_t>(product.tokens * (w.rows + kGap)), 777.0f);
  const auto at = [&](int64_t t, int64_t r) -> float& { return y[static_cast<size_t>(t * (w.rows + kGap) + r)]; };
  if (product.accumulate_on != nullptr) {
    for (int64_t t = 0; t < product.tokens; ++t) {
      for (int64_t r = 0; r < w.rows; ++r) at(t, r) = (*product.accumulate_on)[static_cast<size_t>(t * w.rows + r)];
    }
  }
  MatMulOp op;
  op.w = w;
  op.phase = product.phase;
  op.activations = packed.get();
  op.tokens = product.tokens;
  op.y = y.data();
  op.y_stride = w.rows + kGap;
  op.bias = product.bias;
  op.accumulate = product.accumulate_on != nullptr;
  const int64_t split = product.split > 0 ? product.split : w.rows;
  for (int64_t r = 0; r < w.rows; r += split) table.matmul(op, r, std::min(w.rows, r + split), scratch.get());
  std::vector<float> dense;
  for (int64_t t = 0; t < product.tokens; ++t) {
    for (int64_t r = 0; r < w.rows; ++r) dense.push_back(at(t, r));
    for (int64_t g = 0; g < kGap; ++g) {
      if (at(t, w.rows + g) != 777.0f) dense.push_back(at(t, w.rows + g));  // a stray write changes the size
    }
  }
  return dense;
}

void DecodeKv(const std::byte* vector, DType type, int64_t head_dim, float* out) {
  if (IsFloat(type)) return DecodeRow(type, vector, head_dim, out);
  for (int64_t d = 0; d < head_dim; ++d) {
    const int64_t group = d / kKvGroup;
    if (type == DType::kQ8_0) {
      float scale;
      std::memcpy(&scale, vector + head_dim + group * 4, 4);
      out[d] = scale * static_cast<float>(static_cast<int8_t>(vector[d]));
    } else {
      uint16_t scale;
      std::memcpy(&scale, vector + head_dim / 2 + group * 2, 2);
      const int codes = std::to_integer<int>(vector[group * 16 + d % 16]);
      out[d] = BF16ToF32(scale) * static_cast<float>(kQ4Levels[d % 32 < 16 ? codes % 16 : codes / 16]);
    }
  }
}

std::string PhaseName(Phase phase) { return phase == Phase::kPrompt ? "prompt" : "decode"; }

}  // namespace inkstone::kernel_test

// The element types of the KV cache: how a head's vector of one position is stored and loaded. V as in elements.h.
//
// A type E has kQuantized; kRun<V>, the elements that are best loaded together; LoadPart(vector, d, part, dim), the
// vector of elements from d + part * lanes on, with d a multiple of kRun and elements beyond dim as zero; Bytes(dim) of
// a vector.
#pragma once

#include "core/dtype.h"
#include "core/kv_vector.h"
#include "kernels/q4.h"
#include "kernels/q8.h"
#include "kernels/simd/elements.h"
#include "kernels/simd/matmul_common.h"

namespace inkstone {
namespace {

// F32 and F16.
template <class E>
struct KvFloat {
  static constexpr bool kQuantized = false;
  template <class V>
  static constexpr int kRun = V::kLanes;
  static int64_t Bytes(int64_t dim) { return dim * E::kBytes; }
  template <class V>
  static typename V::F LoadPart(const std::byte* vector, int64_t d, int, int64_t dim) {
    return LoadElements<V, E>(vector + d * E::kBytes, dim - d);
  }
};

// dim is a multiple of 32.
struct KvQ8_0 {
  static constexpr bool kQuantized = true;
  template <class V>
  static constexpr int kRun = V::kLanes;
  static constexpr int64_t kScaleBytes = sizeof(float);
  static int64_t Bytes(int64_t dim) { return dim + dim / kKvGroup * kScaleBytes; }
  template <class V>
  static typename V::F LoadPart(const std::byte* vector, int64_t d, int, int64_t dim) {
    float scale;
    memcpy(&scale, vector + dim + d / kKvGroup * kScaleBytes, sizeof(scale));
    return V::Mul(V::LoadInt8(vector + d), V::Set(scale));
  }

  // The scale is the largest magnitude of its values / 127.
  template <class V>
  static void Store(const float* src, int64_t dim, std::byte* vector) {
    using F = typename V::F;
    for (int64_t i = 0; i < dim; i += kKvGroup) {
      const float amax = LargestMagnitude<V>(src + i);
      const bool zero = amax < kQ8Smallest;
      const float scale = zero ? 0.0f : amax / 127.0f;
      memcpy(vector + dim + i / kKvGroup * kScaleBytes, &scale, sizeof(scale));
      const F inverse = V::Set(zero ? 0.0f : 127.0f / amax);
      for (int k = 0; k < kKvGroup; k += V::kLanes) {
        V::StoreInt8(vector + i + k, V::Round(V::Mul(V::Load(src + i + k), inverse)));
      }
    }
  }

  // Of 32 values.
  template <class V>
  static float LargestMagnitude(const float* src) {
    using F = typename V::F;
    F top = V::Zero();
    for (int k = 0; k < kKvGroup; k += V::kLanes) {
      const F v = V::Load(src + k);
      top = V::Max(top, V::Max(v, V::Sub(V::Zero(), v)));
    }
    return V::MaxLane(top);
  }
};

// dim is a multiple of 32. Loading a whole group converts its scale once.
struct KvQ4_0 {
  static constexpr bool kQuantized = true;
  template <class V>
  static constexpr int kRun = kKvGroup;
  static constexpr int kHalf = kKvGroup / 2;
  static constexpr int64_t kScaleBytes = 2;
  static int64_t Bytes(int64_t dim) { return dim / 2 + dim / kKvGroup * kScaleBytes; }
  template <class V>
  static typename V::F LoadPart(const std::byte* vector, int64_t d, int part, int64_t dim) {
    const typename V::F scale = V::SetBF16(vector + dim / 2 + d / kKvGroup * kScaleBytes);
    const int at = part * V::kLanes;
    return V::Mul(V::LookUp(V::LoadTable(kQ4Levels), vector + d / 2 + at % kHalf, at >= kHalf), scale);
  }

  // The nearest level of each value, and the level's code.
  template <class V>
  struct Nearest {
    typename V::F level, code;
    explicit Nearest(typename V::F v) : level(V::Set(static_cast<float>(kQ4Levels[0]))), code(V::Zero()) {
      Unroll<15>([&](auto k) {
        constexpr float kBorder = Q4Border(k);
        constexpr auto kStep = static_cast<float>(kQ4Levels[k + 1] - kQ4Levels[k]);
        level = V::Add(level, V::ZeroBelow(V::Set(kStep), v, V::Set(kBorder)));
        code = V::Add(code, V::ZeroBelow(V::Set(1.0f), v, V::Set(kBorder)));
      });
    }
  };

  // What the levels that are nearest at a scale leave: the scale that is best for them, and by how much that lowers the
  // sum of squares.
  struct Fit {
    float scale, gain;
  };
  template <class V>
  static Fit FitScale(const float* y, float scale) {
    using F = typename V::F;
    F products = V::Zero(), squares = V::Zero();
    const F inverse = V::Set(1.0f / scale);
    for (int k = 0; k < kKvGroup; k += V::kLanes) {
      const F v = V::Load(y + k);
      const F level = Nearest<V>(V::Mul(v, inverse)).level;
      products = V::MulAdd(v, level, products);
      squares = V::MulAdd(level, level, squares);
    }
    const float p = V::Sum(products), s = V::Sum(squares);
    return {p / s, p * p / s};
  }

  // The best scale found for values of which the largest magnitude is 127.
  template <class V>
  static float Search(const float* y) {
    Fit best{0, -1};
    for (const float start : kQ4Starts) {
      const Fit fit = FitScale<V>(y, start);
      if (fit.gain > best.gain) best = fit;
    }
    return FitScale<V>(y, best.scale).scale;
  }

  template <class V>
  static void StoreGroup(const float* src, std::byte* codes, std::byte* scale_out) {
    const float amax = KvQ8_0::LargestMagnitude<V>(src);
    const bool zero = amax < kQ8Smallest;
    float y[kKvGroup];
    for (int k = 0; k < kKvGroup; k += V::kLanes) {
      V::Store(y + k, V::Mul(V::Load(src + k), V::Set(zero ? 0.0f : 127.0f / amax)));
    }
    const float scale = zero ? 0.0f : RoundToBF16(Search<V>(y) * (amax / 127.0f));
    uint32_t bits;
    memcpy(&bits, &scale, sizeof(bits));
    const auto high = static_cast<uint16_t>(bits >> 16);
    memcpy(scale_out, &high, sizeof(high));
    const auto inverse = V::Set(zero ? 0.0f : 1.0f / scale);
    for (int k = 0; k < kHalf; k += V::kLanes) {
      const auto low = Nearest<V>(V::Mul(V::Load(src + k), inverse)).code;
      const auto upper = Nearest<V>(V::Mul(V::Load(src + kHalf + k), inverse)).code;
      const auto both = V::MulAdd(upper, V::Set(16.0f), low);
      V::StoreInt8(codes + k, V::Sub(both, V::ZeroBelow(V::Set(256.0f), both, V::Set(128.0f))));
    }
  }
  static float RoundToBF16(float v) {  // finite, to nearest, ties to even
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&v, &bits, sizeof(bits));
    return v;
  }

  template <class V>
  static void Store(const float* src, int64_t dim, std::byte* vector) {
    for (int64_t i = 0; i < dim; i += kKvGroup) {
      StoreGroup<V>(src + i, vector + i / 2, vector + dim / 2 + i / kKvGroup * kScaleBytes);
    }
  }
};

// Elements [d, d + lanes) of a vector, d a multiple of the lanes.
template <class V, class E>
inline typename V::F LoadKv(const std::byte* vector, int64_t d, int64_t dim) {
  const int64_t in_run = d % E::template kRun<V>;
  return E::template LoadPart<V>(vector, d - in_run, static_cast<int>(in_run) / V::kLanes, dim);
}

// f(E()) with the element type of a KV type.
template <class Body>
inline auto WithKvType(DType type, Body&& f) {
  if (type == DType::kF32) return f(KvFloat<ElementF32>());
  if (type == DType::kF16) return f(KvFloat<ElementF16>());
  if (type == DType::kQ8_0) return f(KvQ8_0());
  return f(KvQ4_0());
}

}  // namespace
}  // namespace inkstone

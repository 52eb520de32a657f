// Row-wise operations, as kernels.h documents them. V as in elements.h.
#pragma once

#include "core/dtype.h"
#include "kernels/simd/elements.h"
#include "kernels/simd/kv_cache.h"

namespace inkstone {
namespace {

// body(load, store, i) for each vector of [0, count), where load(p) and store(p, v) mind the tail.
template <class V, class Body>
inline void ForVectors(int64_t count, Body&& body) {
  using F = typename V::F;
  int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) body(&V::Load, &V::Store, i);
  const int left = static_cast<int>(count - i);
  if (left == 0) return;
  body([left](const float* p) { return V::LoadPart(p, left); }, [left](float* p, F v) { V::StorePart(p, v, left); }, i);
}

template <class V>
inline void RmsNormRows(const float* x, int64_t x_stride, const float* weight, float eps, int64_t rows, int64_t cols,
                        float* out, int64_t out_stride) {
  using F = typename V::F;
  for (int64_t r = 0; r < rows; ++r, x += x_stride, out += out_stride) {
    F sum[2] = {V::Zero(), V::Zero()};
    ForVectors<V>(cols, [&](auto load, auto, int64_t i) {
      const F v = load(x + i);
      const F next = V::MulAdd(v, v, sum[0]);  // the two sums change places at every step
      sum[0] = sum[1];
      sum[1] = next;
    });
    const float total = V::Sum(V::Add(sum[0], sum[1]));
    const F inverse = V::Set(1.0f / __builtin_sqrtf(total / static_cast<float>(cols) + eps));
    ForVectors<V>(cols, [&](auto load, auto store, int64_t i) {
      store(out + i, V::Mul(V::Mul(load(x + i), inverse), load(weight + i)));
    });
  }
}

template <class V>
inline void RopeHalves(float* x, int half, const float* cos, const float* sin) {
  using F = typename V::F;
  ForVectors<V>(half, [&](auto load, auto store, int64_t i) {
    const F a = load(x + i), b = load(x + half + i), c = load(cos + i), s = load(sin + i);
    store(x + i, V::NegMulAdd(b, s, V::Mul(a, c)));
    store(x + half + i, V::MulAdd(a, s, V::Mul(b, c)));
  });
}

template <class V>
inline void RopePairs(float* x, int half, const float* cos, const float* sin) {
  using F = typename V::F;
  constexpr int kPairs = V::kLanes / 2;
  int i = 0;
  for (; i + kPairs <= half; i += kPairs) {
    const F v = V::Load(x + 2 * i);
    V::Store(x + 2 * i, V::MulSubAdd(v, V::LoadTwice(cos + i), V::Mul(V::SwapPairs(v), V::LoadTwice(sin + i))));
  }
  for (; i < half; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cos[i] - b * sin[i];
    x[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

template <class V>
inline void RopeHeads(float* x, int heads, int head_dim, const float* cos, const float* sin, bool interleaved) {
  for (int h = 0; h < heads; ++h, x += head_dim) {
    interleaved ? RopePairs<V>(x, head_dim / 2, cos, sin) : RopeHalves<V>(x, head_dim / 2, cos, sin);
  }
}

// The stages of a transform that stay within a vector: lanes i and i ^ distance to their sum and difference.
template <class V, int kDistance = 1>
inline typename V::F HadamardLanes(typename V::F v) {
  if constexpr (kDistance == V::kLanes) {
    return v;
  } else {
    float signs[V::kLanes];
    for (int i = 0; i < V::kLanes; ++i) signs[i] = (i & kDistance) != 0 ? -1.0f : 1.0f;
    return HadamardLanes<V, kDistance * 2>(V::MulAdd(v, V::Load(signs), V::template Exchange<kDistance>(v)));
  }
}

template <class V>
inline void HadamardRow(float* x, int64_t count, int64_t block) {
  using F = typename V::F;
  const F scale = V::Set(1.0f / __builtin_sqrtf(static_cast<float>(block)));
  for (float* end = x + count; x != end; x += block) {
    for (int64_t i = 0; i < block; i += V::kLanes) V::Store(x + i, HadamardLanes<V>(V::Mul(V::Load(x + i), scale)));
    for (int64_t distance = V::kLanes; distance < block; distance *= 2) {
      for (int64_t i = 0; i < block; i += V::kLanes) {
        if ((i & distance) != 0) continue;
        const F a = V::Load(x + i), b = V::Load(x + i + distance);
        V::Store(x + i, V::Add(a, b));
        V::Store(x + i + distance, V::Sub(a, b));
      }
    }
  }
}

template <class V>
inline void SiluMulRow(const float* gate, const float* up, int64_t count, float* out) {
  using F = typename V::F;
  ForVectors<V>(count, [&](auto load, auto store, int64_t i) {
    const F g = load(gate + i);
    const F denominator = V::Add(V::Set(1.0f), Exp<V>(V::Sub(V::Zero(), g)));
    store(out + i, V::Mul(V::Div(g, denominator), load(up + i)));
  });
}

template <class V>
inline void StoreRow(const float* src, DType type, int64_t count, std::byte* dst) {
  if (type == DType::kF32) {
    memcpy(dst, src, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  if (type == DType::kQ8_0) return KvQ8_0::Store<V>(src, count, dst);
  if (type == DType::kQ4_0) return KvQ4_0::Store<V>(src, count, dst);
  int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) V::StoreF16(dst + 2 * i, V::Load(src + i));
  if (i == count) return;
  std::byte part[V::kLanes * 2];
  V::StoreF16(part, V::LoadPart(src + i, static_cast<int>(count - i)));
  memcpy(dst + 2 * i, part, static_cast<size_t>(count - i) * 2);
}

// Float weights to f32.
template <class V, class E>
inline void DecodeElements(const std::byte* src, int64_t count, float* dst) {
  ForVectors<V>(
      count, [&](auto, auto store, int64_t i) { store(dst + i, LoadElements<V, E>(src + i * E::kBytes, count - i)); });
}

template <class V>
inline void DecodeFloats(DType type, const std::byte* src, int64_t count, float* dst) {
  if (type == DType::kF16) return DecodeElements<V, ElementF16>(src, count, dst);
  if (type == DType::kBF16) return DecodeElements<V, ElementBF16>(src, count, dst);
  memcpy(dst, src, static_cast<size_t>(count) * sizeof(float));
}

}  // namespace
}  // namespace inkstone

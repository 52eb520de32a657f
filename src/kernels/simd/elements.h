// Loading stored elements as f32 vectors, and exp. V is a target's Vec, whose internal linkage these templates share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace inkstone {
namespace {

// Element types of float weights and of the KV cache: kBytes each.
struct ElementF32 {
  static constexpr int kBytes = 4;
  template <class V>
  static typename V::F Load(const std::byte* p) {
    return V::Load(static_cast<const float*>(static_cast<const void*>(p)));  // any alignment will do
  }
};
struct ElementF16 {
  static constexpr int kBytes = 2;
  template <class V>
  static typename V::F Load(const std::byte* p) {
    return V::LoadF16(p);
  }
};
struct ElementBF16 {
  static constexpr int kBytes = 2;
  template <class V>
  static typename V::F Load(const std::byte* p) {
    return V::LoadBF16(p);
  }
};

// `count` elements from `p`, at most a vector of them; the rest are zero.
template <class V, class E>
inline typename V::F LoadElements(const std::byte* p, int64_t count) {
  if (count >= V::kLanes) return E::template Load<V>(p);
  alignas(64) std::byte padded[V::kLanes * 4] = {};
  if (count > 0) memcpy(padded, p, static_cast<size_t>(count) * E::kBytes);
  return E::template Load<V>(padded);
}

// e^x, relative error about 2e-7; 0 below -87, e^88 above 88. Cody and Waite's reduction by ln 2 in two parts.
template <class V>
inline typename V::F Exp(typename V::F x) {
  using F = typename V::F;
  const F lowest = V::Set(-87.0f);
  const F bounded = V::Min(V::Max(x, lowest), V::Set(88.0f));
  const F n = V::Round(V::Mul(bounded, V::Set(1.44269504f)));
  F r = V::NegMulAdd(n, V::Set(0.693359375f), bounded);
  r = V::NegMulAdd(n, V::Set(-2.12194440e-4f), r);
  F e = V::Set(1.0f / 720);
  e = V::MulAdd(e, r, V::Set(1.0f / 120));
  e = V::MulAdd(e, r, V::Set(1.0f / 24));
  e = V::MulAdd(e, r, V::Set(1.0f / 6));
  e = V::MulAdd(e, r, V::Set(0.5f));
  e = V::MulAdd(e, r, V::Set(1.0f));
  e = V::MulAdd(e, r, V::Set(1.0f));
  return V::ZeroBelow(V::Mul(e, V::Pow2(n)), x, lowest);
}

}  // namespace
}  // namespace inkstone

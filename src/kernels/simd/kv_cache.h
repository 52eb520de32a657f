// The element types of the KV cache: how a head's vector of one position is stored and loaded. V as in elements.h.
#pragma once

#include "core/dtype.h"
#include "core/kv_vector.h"
#include "kernels/q8.h"
#include "kernels/simd/elements.h"

namespace inkstone {
namespace {

// F32 and F16. Bytes(dim), of one vector; Load(vector, d, dim), elements from d on, those beyond dim as zero.
template <class E>
struct KvFloat {
  static int64_t Bytes(int64_t dim) { return dim * E::kBytes; }
  template <class V>
  static typename V::F Load(const std::byte* vector, int64_t d, int64_t dim) {
    return LoadElements<V, E>(vector + d * E::kBytes, dim - d);
  }
};

// dim is a multiple of 32.
struct KvQ8_0 {
  static int64_t Bytes(int64_t dim) { return KvVectorBytes(DType::kQ8_0, dim); }
  static const std::byte* Scale(const std::byte* vector, int64_t d, int64_t dim) {
    return vector + dim + d / kKvGroup * static_cast<int64_t>(sizeof(float));
  }
  template <class V>
  static typename V::F Load(const std::byte* vector, int64_t d, int64_t dim) {
    float scale;
    memcpy(&scale, Scale(vector, d, dim), sizeof(scale));
    return V::Mul(V::LoadInt8(vector + d), V::Set(scale));
  }

  // The scale is the largest magnitude of its values / 127.
  template <class V>
  static void Store(const float* src, int64_t dim, std::byte* vector) {
    using F = typename V::F;
    for (int64_t i = 0; i < dim; i += kKvGroup) {
      F top = V::Zero();
      for (int k = 0; k < kKvGroup; k += V::kLanes) {
        const F v = V::Load(src + i + k);
        top = V::Max(top, V::Max(v, V::Sub(V::Zero(), v)));
      }
      const float amax = V::MaxLane(top);
      const bool zero = amax < kQ8Smallest;
      const float scale = zero ? 0.0f : amax / 127.0f;
      memcpy(vector + dim + i / kKvGroup * static_cast<int64_t>(sizeof(float)), &scale, sizeof(scale));
      const F inverse = V::Set(zero ? 0.0f : 127.0f / amax);
      for (int k = 0; k < kKvGroup; k += V::kLanes) {
        V::StoreInt8(vector + i + k, V::Round(V::Mul(V::Load(src + i + k), inverse)));
      }
    }
  }
};

}  // namespace
}  // namespace inkstone

#include <immintrin.h>

#include "kernels/simd/matmul_common.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"

namespace inkstone {
namespace {

// Sums of products in independent registers. multiply_add(sum, w, x); kProducts of one instruction.
template <int kProducts, class Register, class MultiplyAdd>
int64_t RunLoop(int64_t rounds, MultiplyAdd multiply_add) {
  constexpr int kSums = 12;
  Register sum[kSums] = {}, w = {}, x = {};
  for (int64_t i = 0; i < rounds; ++i) {
    Unroll<kSums>([&](auto k) {
      asm volatile("" : "+v"(w), "+v"(x));  // or equal sums would be made once
      sum[k] = multiply_add(sum[k], w, x);
    });
  }
  asm volatile("" : : "m"(sum));
  return rounds * kSums * kProducts * 2;
}

int64_t Words(int64_t rounds) {
  return RunLoop<32, __m512i>(rounds, [](__m512i sum, __m512i w, __m512i x) { return _mm512_dpwssd_epi32(sum, w, x); });
}
int64_t Bytes(int64_t rounds) {
  return RunLoop<64, __m512i>(rounds, [](__m512i sum, __m512i w, __m512i x) { return _mm512_dpbusd_epi32(sum, w, x); });
}
int64_t Floats(int64_t rounds) {
  return RunLoop<16, __m512>(rounds, [](__m512 sum, __m512 w, __m512 x) { return _mm512_fmadd_ps(w, x, sum); });
}

}  // namespace

MultiplyLoop avx512vnni::MultiplyOnly(ActivationFormat format) {
  if (format == ActivationFormat::kSteps) return {"vpdpbusd", Bytes};
  if (format == ActivationFormat::kF32) return {"vfmadd231ps", Floats};
  return {"vpdpwssd", Words};
}

}  // namespace inkstone

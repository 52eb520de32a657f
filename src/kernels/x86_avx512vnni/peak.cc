#include <immintrin.h>

#include "kernels/simd/matmul_common.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"

namespace inkstone::avx512vnni {

int64_t MultiplyOnly(int64_t rounds) {
  constexpr int kSums = 12;
  __m512i sum[kSums] = {};
  __m512i w = _mm512_set1_epi16(3), x = _mm512_set1_epi16(1);
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+v"(w), "+v"(x));
    Unroll<kSums>([&](auto k) { sum[k] = _mm512_dpwssd_epi32(sum[k], w, x); });
  }
  asm volatile("" : : "m"(sum));
  return rounds * kSums * 32 * 2;
}

}  // namespace inkstone::avx512vnni

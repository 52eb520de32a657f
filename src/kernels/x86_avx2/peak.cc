#include <immintrin.h>

#include "kernels/simd/matmul_common.h"
#include "kernels/x86_avx2/avx2.h"

namespace inkstone::avx2 {

int64_t MultiplyOnly(int64_t rounds) {
  constexpr int kSums = 8;
  __m256i sum[kSums] = {};
  __m256i w = _mm256_set1_epi16(3), x = _mm256_set1_epi16(1);
  for (int64_t i = 0; i < rounds; ++i) {
    Unroll<kSums>([&](auto k) {
      asm volatile("" : "+x"(w), "+x"(x));  // or the product would be made once
      sum[k] = _mm256_add_epi32(sum[k], _mm256_madd_epi16(w, x));
    });
  }
  asm volatile("" : : "m"(sum));
  return rounds * kSums * 16 * 2;
}

}  // namespace inkstone::avx2

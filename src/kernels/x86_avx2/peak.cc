#include <immintrin.h>

#include "kernels/x86/multiply_loop.h"
#include "kernels/x86_avx2/avx2.h"

namespace inkstone {
namespace {

int64_t Words(int64_t rounds) {
  return MultiplyOnRegisters<8, 16, __m256i>(
      rounds, [](__m256i sum, __m256i w, __m256i x) { return _mm256_add_epi32(sum, _mm256_madd_epi16(w, x)); });
}
int64_t Bytes(int64_t rounds) {
  return MultiplyOnRegisters<8, 32, __m256i>(
      rounds, [](__m256i sum, __m256i w, __m256i x) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x)); });
}
int64_t Floats(int64_t rounds) {
  return MultiplyOnRegisters<8, 8, __m256>(rounds,
                                           [](__m256 sum, __m256 w, __m256 x) { return _mm256_fmadd_ps(w, x, sum); });
}

}  // namespace

MultiplyLoop avx2::MultiplyOnly(ActivationFormat format) {
  if (format == ActivationFormat::kSteps) return {"vpmaddubsw", Bytes};
  if (format == ActivationFormat::kF32) return {"vfmadd231ps", Floats};
  return {"vpmaddwd", Words};
}

}  // namespace inkstone

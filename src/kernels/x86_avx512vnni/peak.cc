#include <immintrin.h>

#include "kernels/x86/multiply_loop.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"

namespace inkstone {
namespace {

int64_t Words(int64_t rounds) {
  return MultiplyOnRegisters<12, 32, __m512i>(
      rounds, [](__m512i sum, __m512i w, __m512i x) { return _mm512_dpwssd_epi32(sum, w, x); });
}
int64_t Bytes(int64_t rounds) {
  return MultiplyOnRegisters<12, 64, __m512i>(
      rounds, [](__m512i sum, __m512i w, __m512i x) { return _mm512_dpbusd_epi32(sum, w, x); });
}
int64_t Floats(int64_t rounds) {
  return MultiplyOnRegisters<12, 16, __m512>(rounds,
                                             [](__m512 sum, __m512 w, __m512 x) { return _mm512_fmadd_ps(w, x, sum); });
}

}  // namespace

MultiplyLoop avx512vnni::MultiplyOnly(ActivationFormat format) {
  if (format == ActivationFormat::kSteps) return {"vpdpbusd", Bytes};
  if (format == ActivationFormat::kF32) return {"vfmadd231ps", Floats};
  return {"vpdpwssd", Words};
}

}  // namespace inkstone

// Products of K-quants with activations in eight bits (kernels/steps.h).
#include "kernels/x86/step_product.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"

namespace inkstone {
namespace {

// The products of four columns are a dword; as long as sums of them fit into its low word, that word times a scale in
// the low word is all there is.
template <int kBits>
struct DwordProducts {
  static constexpr bool kBothWords = false;
  static constexpr int kTogether = kBits == 4 ? 4 : 2;  // 4 * 15 * 127 four times, or 4 * 31 * 127 twice
  INKSTONE_INLINE static __m256i Multiply(__m256i w, __m256i x) { return MultiplyAdd(_mm256_setzero_si256(), w, x); }
  INKSTONE_INLINE static __m256i MultiplyAdd(__m256i sum, __m256i w, __m256i x) {
    return _mm256_dpbusd_epi32(sum, w, x);
  }
  INKSTONE_INLINE static __m256i AddScaled(__m256i sum, __m256i dot, __m256i scale) {
    return _mm256_dpwssd_epi32(sum, dot, scale);
  }
};
template <int kBits>
struct Products : DwordProducts<kBits> {};
// Each product would take a scale of its own.
template <>
struct Products<6> : ByteProducts<6> {};

}  // namespace

size_t avx512vnni::StepScratchBytes() { return sizeof(StepScratch); }

void avx512vnni::StepMatMul(const MatMulOp& op, int64_t row_begin, int64_t row_end, void* scratch) {
  StepProduct<Products>(op, row_begin, row_end, *static_cast<StepScratch*>(scratch));
}

}  // namespace inkstone

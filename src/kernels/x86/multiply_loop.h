// Multiplications alone, for KernelTable::multiply_only. One copy per target, as in unpack.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/simd/matmul_common.h"

namespace inkstone {
namespace {

// Sums of products in kSums independent registers: multiply_add(sum, w, x), so many times `rounds`. kProducts of one
// instruction. Gives the operations, two for each product.
template <int kSums, int kProducts, class Register, class MultiplyAdd>
inline int64_t MultiplyOnRegisters(int64_t rounds, MultiplyAdd multiply_add) {
  Register sum[kSums] = {}, w = {}, x = {};
  for (int64_t i = 0; i < rounds; ++i) {
    Unroll<kSums>([&](auto k) {
      asm volatile("" : "+v"(w), "+v"(x));  // or equal products and sums would be made once
      sum[k] = multiply_add(sum[k], w, x);
    });
  }
  asm volatile("" : : "m"(sum));
  return rounds * kSums * kProducts * 2;
}

}  // namespace
}  // namespace inkstone

// What the kernel tests share: random inputs, aligned buffers, and a product run through a table.
#pragma once

#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace inkstone::kernel_test {

// Zeroed memory aligned to 64 bytes.
class Buffer {
 public:
  explicit Buffer(size_t bytes) : data_(new (std::align_val_t(64)) std::byte[bytes + 64]) {
    std::memset(data_.get(), 0, bytes + 64);
  }
  std::byte* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(std::byte* p) const { operator delete[](p, std::align_val_t(64)); }
  };
  std::unique_ptr<std::byte[], Free> data_;
};

std::vector<float> RandomFloats(int64_t count, unsigned seed, float deviation = 1.0f);

enum class Bits { kRandom, kZero, kOnes };

// Rows of a type with sane scales and arbitrary quants: every byte pattern outside the f16 fields. The first byte lies
// at an odd multiple of the type's smallest alignment.
struct Weights {
  Weights(DType type, int64_t rows, int64_t cols, Bits bits, unsigned seed);
  WeightView view;
  std::vector<std::byte> bytes;
};

struct Product {
  Phase phase = Phase::kDecode;
  int64_t tokens = 1;
  const float* x = nullptr;  // (tokens, cols)
  const float* bias = nullptr;
  const std::vector<float>* accumulate_on = nullptr;  // (tokens, rows)
  int64_t split = 0;                                  // rows per call, 0 for all at once
};

// (tokens, rows).
std::vector<float> Multiply(const KernelTable& table, const WeightView& w, const Product& product);

// A stored vector of the KV cache (core/kv_vector.h) to f32.
void DecodeKv(const std::byte* vector, DType type, int64_t head_dim, float* out);

// "avx2_Q4_K_decode" for parameterized names.
std::string PhaseName(Phase phase);

}  // namespace inkstone::kernel_test

#include "cli/machine_limits.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "backends/backend.h"
#include "core/memory_info.h"

namespace inkstone {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 30;
constexpr int kPasses = 4;
constexpr int64_t kMultiplyRounds = 200'000;

// One way for a thread to read its share: parts of it side by side, lines touched so many bytes ahead (0: not at all).
struct ReadPattern {
  int streams = 1;
  size_t ahead = 0;
};
// Which is fastest depends on the memory, the hardware's own prefetching and the hour.
constexpr ReadPattern kReadPatterns[] = {{1, 0},    {1, 2048}, {1, 4096}, {1, 8192}, {2, 0},
                                         {2, 4096}, {4, 0},    {4, 4096}, {8, 0},    {8, 2048}};

// Sums 64-byte lines in independent lanes; the compiler makes the widest loads of each clone's target of it.
// Not under ThreadSanitizer: what chooses a clone runs before it is ready, and crashes.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
uint64_t
SumLines(const uint64_t* data, size_t words, const ReadPattern& pattern) {
  uint64_t lanes[32] = {};
  const size_t part = words / static_cast<size_t>(pattern.streams) / 32 * 32;
  for (size_t i = 0; i < part; i += 32) {
    for (const uint64_t* from = data + i; from < data + part * static_cast<size_t>(pattern.streams); from += part) {
      for (size_t line = 0; line < 32 && pattern.ahead > 0; line += 8) {
        __builtin_prefetch(reinterpret_cast<const char*>(from + line) + pattern.ahead);
      }
      for (size_t lane = 0; lane < 32; ++lane) lanes[lane] += from[lane];
    }
  }
  uint64_t sum = 0;
  for (const uint64_t lane : lanes) sum += lane;
  return sum;
}

// The most of several passes; pass() gives the work that all threads did.
double BestPerSecond(FunctionRef<double()> pass) {
  double best = 0;
  for (int i = 0; i < kPasses; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const double work = pass();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::max(best, work / elapsed.count());
  }
  return best;
}

}  // namespace

double MeasureReadLimit(ThreadPool* threads) {
  const size_t bytes = std::min<size_t>(kBufferBytes, GetMemoryInfo().available / 4) / (size_t{1} << 20) << 20;
  const size_t share = bytes / 8 / static_cast<size_t>(threads->size());
  std::atomic<uint64_t> sink{0};
  double best = 0;
  // The file's pages are small ones; huge ones need fewer translations, where the system gives them.
  for (const int advice : {MADV_NOHUGEPAGE, MADV_HUGEPAGE}) {
    auto buffer = DeviceBuffer::Map(bytes);
    if (!buffer.ok() || bytes == 0) return best;
    madvise(buffer->data(), bytes, advice);
    std::memset(buffer->data(), 1, bytes);
    const uint64_t* words = reinterpret_cast<const uint64_t*>(buffer->data());
    for (const ReadPattern& pattern : kReadPatterns) {
      best = std::max(
          best, BestPerSecond([&] {
            threads->Run([&](int t) { sink += SumLines(words + share * static_cast<size_t>(t), share, pattern); });
            return static_cast<double>(bytes) * 1e-9;
          }));
    }
  }
  return sink.load() == 0 ? 0 : best;
}

ArithmeticLimit MeasureArithmeticLimit(ThreadPool* threads, const KernelTable& kernels, DType weight) {
  if (kernels.multiply_only == nullptr) return {};
  const MultiplyLoop loop = kernels.multiply_only(kernels.activation_format(weight, Phase::kPrompt));
  const double tflops = BestPerSecond([&] {
    std::atomic<int64_t> operations{0};
    threads->Run([&](int) { operations += loop.run(kMultiplyRounds); });
    return static_cast<double>(operations) * 1e-12;
  });
  return {.tflops = tflops, .instruction = loop.instruction};
}

}  // namespace inkstone

#include "cli/machine_limits.h"

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
constexpr size_t kPrefetchBytes = 4096;

// Sums 64-byte lines in eight independent lanes; the compiler makes the widest loads of each clone's target of it.
// Not under ThreadSanitizer: what chooses a clone runs before it is ready, and crashes.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
uint64_t
SumLines(const uint64_t* data, size_t words) {
  uint64_t lanes[32] = {};
  for (size_t i = 0; i + 32 <= words; i += 32) {
    for (size_t line = 0; line < 32; line += 8) {
      __builtin_prefetch(reinterpret_cast<const char*>(data + i + line) + kPrefetchBytes);
    }
    for (size_t lane = 0; lane < 32; ++lane) lanes[lane] += data[i + lane];
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
  auto buffer = DeviceBuffer::Map(bytes);
  if (!buffer.ok() || bytes == 0) return 0;
  std::memset(buffer->data(), 1, bytes);
  const uint64_t* words = reinterpret_cast<const uint64_t*>(buffer->data());
  const size_t share = bytes / 8 / static_cast<size_t>(threads->size());
  std::atomic<uint64_t> sink{0};
  const double best = BestPerSecond([&] {
    threads->Run([&](int t) { sink += SumLines(words + share * static_cast<size_t>(t), share); });
    return static_cast<double>(bytes) * 1e-9;
  });
  return sink.load() == 0 ? 0 : best;
}

double MeasureArithmeticLimit(ThreadPool* threads, const KernelTable& kernels) {
  if (kernels.multiply_only == nullptr) return 0;
  return BestPerSecond([&] {
    std::atomic<int64_t> operations{0};
    threads->Run([&](int) { operations += kernels.multiply_only(kMultiplyRounds); });
    return static_cast<double>(operations) * 1e-12;
  });
}

}  // namespace inkstone

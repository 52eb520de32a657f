// What a fork and join of the thread pool costs: the time of an empty Run().
//
//   fork_join_bench [--threads N] [--runs R]
//
// For teams of 1 to N threads (default: one for each core), left to the scheduler and kept on cores: microseconds of
// R calls one after the other, which find the workers spinning, and of R / 20 calls after a pause of a millisecond,
// which find them parked. The 10th percentile is what the machine can do, the 90th what its neighbours leave of it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "core/cpu_topology.h"
#include "core/thread_pool.h"

namespace inkstone {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPause = std::chrono::milliseconds(1);  // far beyond the time that workers spin

struct Options {
  int threads = DefaultThreads();
  int runs = 20000;
};

struct Quantiles {
  double p10, p50, p90;
};

// Microseconds of an empty Run.
Quantiles Measure(ThreadPool& pool, int runs, bool parked) {
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) {
    if (parked) std::this_thread::sleep_for(kPause);
    const auto start = Clock::now();
    pool.Run([](int) {});
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  const auto at = [&](double q) { return times[static_cast<size_t>(q * static_cast<double>(times.size() - 1))]; };
  return {at(0.1), at(0.5), at(0.9)};
}

void Report(int threads, Pinning pinning, int runs) {
  auto places = PlaceThreads(threads, pinning);
  if (!places.ok()) return;  // more threads than cores
  ThreadPool pool(threads, std::move(places).value());
  const ThreadBinding binding = pool.BindCaller();
  Measure(pool, 200, false);
  const Quantiles spinning = Measure(pool, runs, false);
  const Quantiles parked = Measure(pool, std::max(runs / 20, 1), true);
  std::printf("%7d  %-6s  %7.2f %7.2f %7.2f   %7.1f %7.1f %7.1f\n", threads, pinning == Pinning::kOn ? "on" : "off",
              spinning.p10, spinning.p50, spinning.p90, parked.p10, parked.p50, parked.p90);
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    int* const value = name == "--threads" ? &options.threads : name == "--runs" ? &options.runs : nullptr;
    if (value == nullptr || i + 1 == argc) {
      std::fprintf(stderr, "usage: fork_join_bench [--threads N] [--runs R]\n");
      return 2;
    }
    *value = std::max(1, std::atoi(argv[i + 1]));
  }
  std::printf("threads  pinned  spinning: p10     p50     p90   parked: p10     p50     p90   (microseconds)\n");
  for (int threads = 1; threads <= options.threads; ++threads) {
    for (const Pinning pinning : {Pinning::kOff, Pinning::kOn}) Report(threads, pinning, options.runs);
  }
  return 0;
}

}  // namespace
}  // namespace inkstone

int main(int argc, char** argv) { return inkstone::Main(argc, argv); }

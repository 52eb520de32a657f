// Speed of the kernels on the shapes of a 4B model, beside what the memory can deliver.
//
//   kernels_bench [--cpu TARGET] [--threads N] [--types Q4_K,Q8_0] [--megabytes 384] [--tokens 512]
//
// Weights are (2560, 9728) matrices, enough of them to exceed every cache, so decode reads memory. For each type:
// decode GB/s of weights and its share of the plain read limit, the same for 8 and 16 tokens as a share of that, prompt
// GFLOP/s (two per weight and token), with one thread and with N. Each number is the best of several passes.
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/cpu_info.h"
#include "core/cpu_topology.h"
#include "core/kv_vector.h"
#include "core/thread_pool.h"
#include "kernels/kernels.h"

namespace inkstone {
namespace {

constexpr int64_t kRows = 2560;
constexpr int64_t kCols = 9728;

struct Options {
  std::string cpu;
  int threads = DefaultThreads();
  std::vector<DType> types;
  int64_t megabytes = 384;
  int64_t tokens = 512;
  int repeat = 4;
};

// One thread is timed by its processor time, which neighbours on a shared machine disturb least; a team by the clock.
double Seconds(bool team) {
  timespec t{};
  clock_gettime(team ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct FreeAligned {
  void operator()(std::byte* p) const { operator delete[](p, std::align_val_t(4096)); }
};
using Memory = std::unique_ptr<std::byte[], FreeAligned>;
Memory Allocate(size_t bytes) {
  Memory memory(new (std::align_val_t(4096)) std::byte[bytes + 64]);
  std::memset(memory.get(), 0, bytes + 64);
  return memory;
}

// Best seconds of `repeat` calls.
double Best(int repeat, bool team, FunctionRef<void()> body) {
  double best = 1e30;
  for (int i = 0; i < repeat; ++i) {
    const double start = Seconds(team);
    body();
    best = std::min(best, Seconds(team) - start);
  }
  return best;
}

// GB/s of summing 64-bit words.
double ReadLimit(ThreadPool& pool, int threads, const std::byte* data, size_t bytes, int repeat) {
  std::vector<uint64_t> sums(static_cast<size_t>(pool.size()));
  const size_t part = bytes / static_cast<size_t>(threads) / 512 * 512;
  const auto read = [&](int thread) {
    const std::byte* p = data + static_cast<size_t>(thread) * part;
    uint64_t sum[8] = {};
    for (size_t i = 0; i < part; i += 64) {
      __builtin_prefetch(p + i + 4096);
      uint64_t words[8];
      std::memcpy(words, p + i, 64);
      for (int k = 0; k < 8; ++k) sum[k] += words[k];
    }
    for (const uint64_t s : sum) sums[static_cast<size_t>(thread)] += s;
  };
  const double seconds = Best(repeat, threads > 1, [&] { threads > 1 ? pool.Run(read) : read(0); });
  volatile uint64_t sink = sums[0];
  (void)sink;
  return static_cast<double>(part) * threads / seconds / 1e9;
}

// Random bytes; every 16-bit field that could be a scale or a float weight stays a moderate, normal number.
void FillWeights(std::byte* data, size_t bytes) {
  std::mt19937_64 random(1);
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    const uint64_t word = (random() & 0x0f7f0f7f0f7f0f7fu) | 0x2000200020002000u;
    std::memcpy(data + i, &word, 8);
  }
}

class TypeBench {
 public:
  TypeBench(const KernelTable& table, ThreadPool& pool, const Options& options, DType type, const std::byte* data)
      : table_(table), pool_(pool), options_(options), type_(type), data_(data) {
    matrix_bytes_ = kRows * RowBytes(type, kCols);
    matrices_ = std::max<int64_t>(options.megabytes * 1000000 / matrix_bytes_, 1);
    for (int i = 0; i < pool.size(); ++i) {
      scratch_.push_back(Allocate(std::max(table.matmul_scratch_bytes(type, Phase::kPrompt, kCols),
                                           table.matmul_scratch_bytes(type, Phase::kDecode, kCols))));
    }
  }

  // Seconds to multiply `matrices` matrices with `tokens` tokens.
  double Time(Phase phase, int64_t tokens, int64_t matrices, int threads) {
    const ActivationFormat format = table_.activation_format(type_, phase);
    std::vector<float> x(static_cast<size_t>(tokens * kCols)), y(static_cast<size_t>(tokens * kRows));
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    for (float& v : x) v = normal(random);
    const Memory packed = Allocate(table_.packed_bytes(format, phase, tokens, kCols));
    table_.pack(format, phase, x.data(), kCols, tokens, kCols, 0, tokens, packed.get());
    // Four pieces for each thread, as the backend cuts products.
    const int64_t row_grain = table_.row_grain(type_, phase);
    const int64_t grain = (kRows / (threads * 4) + row_grain - 1) / row_grain * row_grain;
    return Best(options_.repeat, threads > 1, [&] {
      for (int64_t m = 0; m < matrices; ++m) {
        MatMulOp op;
        op.w = {type_, kRows, kCols, data_ + m * matrix_bytes_};
        op.phase = phase;
        op.activations = packed.get();
        op.tokens = tokens;
        op.y = y.data();
        op.y_stride = kRows;
        Multiply(op, grain, threads);
      }
    });
  }

  double DecodeGbs(int64_t tokens, int threads) {
    return static_cast<double>(matrices_ * matrix_bytes_) / Time(Phase::kDecode, tokens, matrices_, threads) / 1e9;
  }
  double PromptGflops(int threads) {
    const double flop = 2.0 * kRows * kCols * static_cast<double>(options_.tokens) * static_cast<double>(matrices_);
    return flop / Time(Phase::kPrompt, options_.tokens, matrices_, threads) / 1e9;
  }

 private:
  void Multiply(const MatMulOp& op, int64_t grain, int threads) {
    if (threads == 1) return table_.matmul(op, 0, kRows, scratch_[0].get());
    pool_.ParallelFor(kRows, grain, [&](int64_t begin, int64_t end, int thread) {
      table_.matmul(op, begin, end, scratch_[static_cast<size_t>(thread)].get());
    });
  }

  const KernelTable& table_;
  ThreadPool& pool_;
  const Options& options_;
  DType type_;
  const std::byte* data_;
  int64_t matrix_bytes_ = 0;
  int64_t matrices_ = 0;
  std::vector<Memory> scratch_;
};

// Attention of a 4B model at 4096 positions, one thread: GB/s of the cache for one token, GFLOP/s for a chunk of 64.
void AttentionBench(const KernelTable& table, KvTypes types, const std::byte* data, int64_t megabytes, int repeat) {
  constexpr int kHeads = 32, kKvHeads = 8, kHeadDim = 128, kPageTokens = 64, kPages = 64, kChunk = 64;
  const int64_t k_bytes = kKvHeads * kPageTokens * KvVectorBytes(types.k, kHeadDim);
  const int64_t v_bytes = kKvHeads * kPageTokens * KvVectorBytes(types.v, kHeadDim);
  const int64_t layers = std::max<int64_t>(megabytes * 1000000 / (kPages * (k_bytes + v_bytes)), 1);
  std::vector<const std::byte*> pages;
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (const int64_t bytes : {k_bytes, v_bytes}) {
      for (int p = 0; p < kPages; ++p, data += bytes) pages.push_back(data);
    }
  }
  const std::vector<float> q(static_cast<size_t>(kChunk * kHeads * kHeadDim), 0.01f);
  std::vector<float> out(q.size());
  const Memory scratch = Allocate(table.attention_scratch_bytes(kHeads / kKvHeads, kHeadDim, kPageTokens));
  const auto seconds = [&](Phase phase, int64_t tokens, int64_t count) {
    return Best(repeat, false, [&] {
      for (int64_t layer = 0; layer < count; ++layer) {
        AttentionOp op;
        op.phase = phase;
        op.q = q.data();
        op.q_stride = op.out_stride = kHeads * kHeadDim;
        op.out = out.data();
        op.tokens = tokens;
        op.first_position = kPages * kPageTokens - tokens;
        op.heads = kHeads;
        op.kv_heads = kKvHeads;
        op.head_dim = kHeadDim;
        op.scale = 0.088f;
        op.types = types;
        op.page_tokens = kPageTokens;
        op.k_pages = pages.data() + layer * 2 * kPages;
        op.v_pages = op.k_pages + kPages;
        table.attention(op, 0, kKvHeads, 0, tokens, scratch.get());
      }
    });
  };
  const double bytes = static_cast<double>(layers * kPages * (k_bytes + v_bytes));
  const double flop = 4.0 * kPages * kPageTokens * kChunk * kHeads * kHeadDim;
  const double decode = seconds(Phase::kDecode, 1, layers);
  std::printf(
      "attention at 4096 positions in %-9s one thread: decode %4.1f GB/s, %6.2f M positions/s, prompt %.0f GFLOP/s\n",
      KvTypesName(types).c_str(), bytes / decode / 1e9,
      static_cast<double>(layers * kPages * kPageTokens) / decode / 1e6,
      flop / seconds(Phase::kPrompt, kChunk, 1) / 1e9);
}

bool ParseTypes(const std::string& list, std::vector<DType>* types) {
  size_t begin = 0;
  while (begin <= list.size()) {
    const size_t end = std::min(list.find(',', begin), list.size());
    const auto type = DTypeFromName(list.substr(begin, end - begin));
    if (!type) return false;
    types->push_back(*type);
    begin = end + 1;
  }
  return true;
}

bool Parse(int argc, char** argv, Options* options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--cpu") {
      options->cpu = value;
    } else if (name == "--threads") {
      options->threads = std::max(1, std::atoi(value.c_str()));
    } else if (name == "--megabytes") {
      options->megabytes = std::max(1, std::atoi(value.c_str()));
    } else if (name == "--tokens") {
      options->tokens = std::max(1, std::atoi(value.c_str()));
    } else if (name == "--repeat") {
      options->repeat = std::max(1, std::atoi(value.c_str()));
    } else if (name != "--types" || !ParseTypes(value, &options->types)) {
      return false;
    }
  }
  if (options->types.empty()) {
    for (const DTypeInfo& info : AllDTypes()) options->types.push_back(info.type);
  }
  return argc % 2 == 1;
}

int Main(int argc, char** argv) {
  Options options;
  if (!Parse(argc, argv, &options)) {
    std::fprintf(stderr, "usage: kernels_bench [--cpu T] [--threads N] [--types A,B] [--megabytes M] [--tokens N]\n");
    return 2;
  }
  const auto table = SelectKernels(options.cpu, DetectCpuFeatures());
  if (!table.ok()) {
    std::fprintf(stderr, "%s\n", table.status().message().c_str());
    return 1;
  }
  ThreadPool pool(options.threads);
  const size_t bytes = static_cast<size_t>(std::max(options.megabytes * 1000000, 4 * kRows * kCols)) + 8192;
  const Memory data = Allocate(bytes);
  FillWeights(data.get(), bytes);
  const int n = options.threads;
  std::printf("%s, %s, prompt of %d tokens; GB/s of weights (share of the read limit), GFLOP/s\n", CpuName().c_str(),
              std::string((*table)->target).c_str(), static_cast<int>(options.tokens));
  std::printf("%-7s  %-15s %-15s %-13s %-13s %-9s %-9s\n", "type", "decode x1",
              ("decode x" + std::to_string(n)).c_str(), "8 tokens x1", "16 tokens x1", "prompt x1",
              ("prompt x" + std::to_string(n)).c_str());
  for (const DType type : options.types) {
    const double one = ReadLimit(pool, 1, data.get(), bytes, options.repeat);
    const double all = ReadLimit(pool, n, data.get(), bytes, options.repeat);
    TypeBench bench(**table, pool, options, type, data.get());
    const double decode = bench.DecodeGbs(1, 1);
    const double decode_all = bench.DecodeGbs(1, n);
    const double eight = bench.DecodeGbs(8, 1);
    const double sixteen = bench.DecodeGbs(16, 1);
    std::printf(
        "%-7s  %5.1f of %4.1f %2.0f%% %5.1f of %4.1f %2.0f%%  %5.1f %3.0f%%     %5.1f %3.0f%%    %-9.0f %-9.0f\n",
        std::string(Info(type).name).c_str(), decode, one, 100 * decode / one, decode_all, all, 100 * decode_all / all,
        eight, 100 * eight / decode, sixteen, 100 * sixteen / decode, bench.PromptGflops(1), bench.PromptGflops(n));
    std::fflush(stdout);
  }
  for (const char* types : {"F16", "Q8_0", "Q4_0", "Q8_0/Q4_0", "Q4_0/Q8_0"}) {
    AttentionBench(**table, *KvTypesFromName(types), data.get(), options.megabytes, options.repeat);
  }
  return 0;
}

}  // namespace
}  // namespace inkstone

int main(int argc, char** argv) { return inkstone::Main(argc, argv); }

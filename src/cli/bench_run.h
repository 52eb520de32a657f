// Measures a model's speed: what `inkstone bench` reports.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "backends/profiling_backend.h"
#include "cli/machine_limits.h"
#include "core/cpu_topology.h"
#include "core/dtype.h"
#include "core/status.h"

namespace inkstone {

struct BenchSettings {
  std::string path;  // of the model
  int threads = 0;
  std::string cpu;
  Pinning pinning = Pinning::kAuto;
  int64_t prompt = 512;   // tokens of one sequence
  int64_t generate = 64;  // tokens of each sequence, one at a time
  int64_t depth = 0;      // tokens that are in every sequence's cache before either
  int64_t batch = 1;      // sequences that generate together
  int64_t chunk = 512;    // prompt tokens per step
  int repeat = 3;
  bool profile = false;
  std::optional<KvTypes> kv_types = {};  // unset: the model's DefaultKvTypes
  int64_t attention_window = 0;          // as SessionOptions has them
  int64_t attention_sinks = 32;
};

struct BenchResult {
  std::string target;  // "cpu/amx"
  KvTypes kv_types = {};
  int threads = 0;
  bool pinned = false;     // each thread on a core of its own
  double prefill_tps = 0;  // medians
  double decode_tps = 0;   // of all sequences together
  double load_ms = 0;
  uint64_t rss_bytes = 0;
  double read_gbs = 0;               // weights read per second while decoding
  double read_limit_gbs = 0;         // what plain reading reaches with the same threads
  double prefill_tflops = 0;         // two operations for each weight of the layers and token
  ArithmeticLimit arithmetic_limit;  // for the type that most weights have
  // With `profile`: what the operations of all repetitions took, and the time that passed.
  OperationCosts prefill_costs, decode_costs;
  double prefill_seconds = 0, decode_seconds = 0;
};

Result<BenchResult> RunBench(const BenchSettings& settings);

}  // namespace inkstone

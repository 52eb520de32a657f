// Session wiring: from a model's path to a running engine, with the memory contract checked in between.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "core/cpu_topology.h"
#include "core/status.h"
#include "core/thread_pool.h"
#include "engine/engine.h"
#include "formats/checkpoint.h"
#include "planner/memory_account.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {

struct SessionOptions {
  std::string model;     // GGUF file or Hugging Face folder
  int threads = 0;       // 0: DefaultThreads
  std::string cpu = {};  // kernel target, empty: the best
  Pinning pinning = Pinning::kAuto;
  int64_t context = 0;  // as MemoryWishes has it
  int max_sequences = 8;
  int max_queue = 64;
  int64_t prompt_chunk = 512;            // prompt tokens in one step, at least max_sequences
  double prefill_share = 0.3;            // as EngineOptions has it
  std::optional<KvTypes> kv_types = {};  // unset: the model's DefaultKvTypes
  int64_t attention_window = 0;          // newest tokens that every token sees at least; 0: all
  int64_t attention_sinks = 32;          // first tokens that stay in sight of a window; rounded up to whole pages
  PrefixReuse prefix = PrefixReuse::kAll;
  PrefixShare share = PrefixShare::kSystem;
  bool allow_priority = false;           // as EngineOptions has it
  std::string cache_folder = {};         // where pages of keys and values are kept; empty: nowhere
  uint64_t cache_bytes = 4'000'000'000;  // of it at most
  uint64_t spill_bytes = 0;              // of disk, for what of a sequence has no room in memory; 0: none
  std::string spill_folder = {};         // where that lies; empty: in cache_folder
  uint64_t memory_limit = 0;             // bytes that the process may take; 0: what is available
  uint64_t connection_bytes = 0;         // of them, what a server holds for its clients at most
  MemoryHooks memory_hooks = {};         // without `sense`, the system is asked
  DiskHook on_disk = {};
};

// Facts for /props, /v1/models and the page.
struct SessionInfo {
  std::string model_name;  // for people: metadata name, else the file's name
  std::string model_id;    // file name without extension: the API's model id
  std::string architecture;
  std::string quantization;  // the type most weights have, "Q8_0"
  int64_t parameters = 0;
  int64_t file_bytes = 0;
  int64_t context = 0;
  int64_t trained_context = 0;
  std::string backend;
  int threads = 0;
  bool pinned = false;  // each thread is kept on a core of its own
  bool has_chat_template = false;
  bool thinks = false;                     // the template knows <think>
  std::string memory_report;               // the plan, as printed
  std::vector<std::string> warnings = {};  // what was odd about the model's files, for people
};

class Session {
 public:
  static Result<std::unique_ptr<Session>> Open(const SessionOptions& options);
  virtual ~Session() = default;

  virtual Engine& engine() = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  virtual const SessionInfo& info() const = 0;
  // Sampling that the model's makers recommend (generation_config), or sensible values.
  virtual const SamplingParams& default_sampling() const = 0;
  // Thread-safe: what is planned and taken, by purpose; connections, and so the runtime, are the caller's to fill in.
  virtual MemoryAccount memory() const = 0;

  // Renders a conversation with the model's template and tokenizes it. Special tokens of the template are recognised,
  // their text inside messages is not (it is taken as plain text).
  // A hostile model may need long for it, within the bounds of RenderLimits and SplitWork; `stop` ends it with
  // kCancelled before.
  virtual Result<std::vector<int32_t>> EncodeChat(const ChatPrompt& prompt, std::stop_token stop = {}) const = 0;
  // The rendered text, for /apply-template and for reasoning detection.
  virtual Result<std::string> RenderChat(const ChatPrompt& prompt, std::stop_token stop = {}) const = 0;
};

}  // namespace inkstone

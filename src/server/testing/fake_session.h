// A Session whose model is a script: for tests of the server and of its clients.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/session.h"
#include "server/json_writer.h"

namespace inkstone::testing {

// What the "model" says to one request.
struct Script {
  std::vector<std::string> pieces;            // one event each
  std::chrono::milliseconds prefill{0};       // before the first piece
  std::chrono::milliseconds per_piece{0};     // before every other one
  FinishReason finish = FinishReason::kStop;  // kLength is also given when max_tokens runs out
  Status error;                               // with kError
};

// Byte-level vocabulary: the 256 bytes and a few special tokens.
inline std::unique_ptr<Tokenizer> MakeByteTokenizer() {
  JsonWriter json;
  json.BeginObject().Field("version", "1.0").Key("added_tokens").BeginArray();
  const std::vector<std::string> added = {"<|im_start|>", "<|im_end|>",  "<think>",
                                          "</think>",     "<tool_call>", "</tool_call>"};
  for (size_t i = 0; i < added.size(); ++i) {
    json.BeginObject().Field("id", 256 + i).Field("content", added[i]).Field("special", i < 2);
    for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) json.Field(flag, false);
    json.EndObject();
  }
  json.EndArray().Key("normalizer").Null();
  json.Key("pre_tokenizer").BeginObject().Field("type", "ByteLevel").Field("add_prefix_space", false);
  json.Field("trim_offsets", false).Field("use_regex", true).EndObject();
  json.Key("decoder").BeginObject().Field("type", "ByteLevel").EndObject();
  json.Key("model").BeginObject().Field("type", "BPE").Key("vocab").BeginObject();
  // GPT-2's alphabet: printable bytes stand for themselves, the others follow from U+0100 on.
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code = printable ? byte : next++;
    std::string text;
    if (code < 0x80) {
      text.push_back(static_cast<char>(code));
    } else {
      text.push_back(static_cast<char>(0xC0 | (code >> 6)));
      text.push_back(static_cast<char>(0x80 | (code & 0x3F)));
    }
    json.Field(text, byte);
  }
  json.EndObject().Key("merges").BeginArray().EndArray().EndObject().EndObject();
  auto tokenizer = Tokenizer::FromJson(json.Take(), R"({"eos_token":"<|im_end|>"})", "byte tokenizer of the tests");
  return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

// Runs each request's script on its own thread, like an engine with as many slots as requests.
class FakeEngine final : public Engine {
 public:
  using Answer = std::function<Script(const GenerationRequest&, const std::string& prompt)>;

  FakeEngine(const Tokenizer& tokenizer, Answer answer) : tokenizer_(tokenizer), answer_(std::move(answer)) {
    options_.context = 4096;
    config_.architecture = "fake";
    config_.vocab = tokenizer.vocab_size();
  }
  ~FakeEngine() override {
    {
      const std::lock_guard lock(mutex_);
      for (auto& [id, cancelled] : running_) cancelled = true;
      changed_.notify_all();
    }
    for (auto& thread : threads_) thread.join();
  }

  Result<RequestId> Submit(GenerationRequest request, EventSink sink) override {
    const std::lock_guard lock(mutex_);
    if (draining_) return Unavailable("the engine is draining");
    if (memory_is_short) return Overloaded("memory is short");
    if (static_cast<int>(running_.size()) >= capacity) {
      ++stats_.rejected;
      return ResourceExhausted("the queue is full: 0 of 0 places are free");
    }
    const RequestId id = ++last_id_;
    running_[id] = false;
    requests_.push_back(request);
    ++stats_.requests;
    threads_.emplace_back(
        [this, id, request = std::move(request), sink = std::move(sink)] { Play(id, request, sink); });
    return id;
  }
  void Cancel(RequestId id) override {
    const std::lock_guard lock(mutex_);
    const auto found = running_.find(id);
    if (found == running_.end()) return;
    found->second = true;
    ++stats_.cancelled;
    changed_.notify_all();
  }
  void Drain() override {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  bool Idle() const override {
    const std::lock_guard lock(mutex_);
    return running_.empty();
  }
  EngineStats stats() const override {
    const std::lock_guard lock(mutex_);
    EngineStats stats = stats_;
    stats.running = static_cast<int>(running_.size());
    stats.waiting = waiting;
    return stats;
  }
  const EngineOptions& options() const override { return options_; }
  const ModelConfig& config() const override { return config_; }
  uint64_t ActivationBytes() const override { return 0; }
  uint64_t SpillBufferBytes() const override { return 0; }

  std::vector<GenerationRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  // Waits until this many requests were cancelled.
  bool WaitCancelled(int64_t count, std::chrono::milliseconds limit) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] { return stats_.cancelled >= count; });
  }
  std::atomic<int> capacity{64};
  std::atomic<int> waiting{0};  // as stats tell it
  std::atomic<bool> memory_is_short{false};

 private:
  // False when the request was cancelled meanwhile.
  bool Sleep(RequestId id, std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, time, [&] { return running_[id]; });
  }

  std::vector<GeneratedToken> TokensOf(const std::string& piece, const GenerationRequest& request) const {
    std::vector<GeneratedToken> tokens;
    for (const int32_t token : tokenizer_.Encode(piece, SpecialText::kRecognize)) {
      GeneratedToken& out = tokens.emplace_back();
      out.token = token;
      if (request.top_logprobs < 0) continue;
      out.logprob = -0.5f;
      for (int i = 0; i < request.top_logprobs; ++i) {
        out.top.push_back({i == 0 ? token : 64 + i, -0.5f - static_cast<float>(i)});
      }
    }
    return tokens;
  }

  void Play(RequestId id, const GenerationRequest& request, const EventSink& sink) {
    const Script script = answer_(request, tokenizer_.Decode(request.prompt, false));
    GenerationEvent last;
    last.finish = script.finish;
    last.status = script.error;
    last.usage.prompt_tokens = static_cast<int64_t>(request.prompt.size());
    last.usage.cached_tokens = 1;
    last.usage.prefill_seconds = 0.25;
    last.usage.decode_seconds = 0.5;
    bool first = true;
    for (const std::string& piece : script.pieces) {
      if (!Sleep(id, first ? script.prefill : script.per_piece)) {
        last.finish = FinishReason::kCancelled;
        break;
      }
      if (request.max_tokens >= 0 && last.usage.generated_tokens >= request.max_tokens) {
        last.finish = FinishReason::kLength;
        break;
      }
      first = false;
      GenerationEvent event;
      event.text = piece;
      event.tokens = TokensOf(piece, request);
      ++last.usage.generated_tokens;
      sink(std::move(event));
    }
    {
      const std::lock_guard lock(mutex_);
      stats_.generated_tokens += static_cast<int64_t>(script.pieces.size());
      stats_.prefill_seconds += last.usage.prefill_seconds;
      stats_.decode_seconds += last.usage.decode_seconds;
    }
    sink(std::move(last));
    const std::lock_guard lock(mutex_);
    running_.erase(id);
    changed_.notify_all();
  }

  const Tokenizer& tokenizer_;
  const Answer answer_;
  EngineOptions options_;
  ModelConfig config_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<RequestId, bool> running_;  // true: cancelled
  std::vector<GenerationRequest> requests_;
  std::vector<std::thread> threads_;
  EngineStats stats_;
  RequestId last_id_ = 0;
  bool draining_ = false;
};

class FakeSession final : public Session {
 public:
  explicit FakeSession(FakeEngine::Answer answer)
      : tokenizer_(MakeByteTokenizer()), engine_(*tokenizer_, std::move(answer)) {
    info_.model_name = "Fake Model";
    info_.model_id = "fake-model";
    info_.architecture = "fake";
    info_.quantization = "F32";
    info_.parameters = 123;
    info_.file_bytes = 456;
    info_.context = engine_.options().context;
    info_.trained_context = 8192;
    info_.backend = "cpu/fake";
    info_.threads = 1;
    info_.has_chat_template = true;
    sampling_.temperature = 0.7f;
  }

  FakeEngine& engine() override { return engine_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  const SessionInfo& info() const override { return info_; }
  const SamplingParams& default_sampling() const override { return sampling_; }
  MemoryAccount memory() const override { return account; }
  Result<std::vector<int32_t>> EncodeChat(const ChatPrompt& prompt, std::stop_token = {}) const override {
    INK_ASSIGN_OR_RETURN(const std::string text, RenderChat(prompt));
    return tokenizer_->Encode(text, SpecialText::kRecognize);
  }
  // ChatML, with the tools as JSON in front.
  Result<std::string> RenderChat(const ChatPrompt& prompt, std::stop_token = {}) const override {
    std::string text;
    if (!prompt.tools.is_null()) text += "<|im_start|>system\n" + ToJson(prompt.tools) + "<|im_end|>\n";
    for (const ChatMessage& message : prompt.messages) {
      if (message.content == "raise") return InvalidArgument("the template refuses this conversation");
      text += "<|im_start|>" + message.role + "\n" + message.content;
      for (const ToolCall& call : message.tool_calls)
        text += "<tool_call>" + call.name + call.arguments + "</tool_call>";
      text += "<|im_end|>\n";
    }
    if (prompt.add_generation_prompt) text += "<|im_start|>assistant\n";
    if (opens_think) text += "<think>\n";
    return text;
  }

  SessionInfo& mutable_info() { return info_; }
  MemoryAccount account;
  bool opens_think = false;  // the generation prompt ends in <think>

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  SessionInfo info_;
  SamplingParams sampling_;
  FakeEngine engine_;
};

}  // namespace inkstone::testing

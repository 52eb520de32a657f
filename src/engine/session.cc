#include "engine/session.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <utility>

#include "chat/chat_encoding.h"
#include "chat/chat_template_set.h"
#include "chat/continue_message.h"
#include "core/memory_info.h"
#include "engine/default_sampling.h"
#include "engine/memory_meter.h"
#include "engine/page_identity.h"
#include "engine/session_plan.h"
#include "model/runtime.h"
#include "planner/memory_plan.h"

namespace inkstone {
namespace {

constexpr int64_t kMostPositions = 1 << 30;

// What a session is made of, in the order in which it is built; members go in the opposite order.
struct Wiring {
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Engine> engine;
  Result<ChatTemplateSet> chat_template = Unimplemented("no chat template");
  SamplingParams sampling;
  SessionInfo info;
  std::unique_ptr<MemoryMeter> meter;
};

class SessionImpl final : public Session {
 public:
  explicit SessionImpl(Wiring wiring) : w_(std::move(wiring)), encoder_(*w_.tokenizer) {}

  Engine& engine() override { return *w_.engine; }
  const Tokenizer& tokenizer() const override { return *w_.tokenizer; }
  const SessionInfo& info() const override { return w_.info; }
  const SamplingParams& default_sampling() const override { return w_.sampling; }
  MemoryAccount memory() const override { return w_.meter->Read(*w_.engine); }

  Result<std::vector<int32_t>> EncodeChat(const ChatPrompt& prompt, std::stop_token stop) const override {
    ChatEncoder::Literals literals;
    INK_ASSIGN_OR_RETURN(const std::string text, Render(prompt, stop, encoder_.Marker(&literals)));
    return encoder_.Encode(text, literals, stop);
  }

  Result<std::string> RenderChat(const ChatPrompt& prompt, std::stop_token stop) const override {
    return Render(prompt, stop, {});
  }

 private:
  Result<std::string> Render(const ChatPrompt& prompt, const std::stop_token& stop, const TextMark& mark) const {
    if (!w_.chat_template.ok()) return w_.chat_template.status();
    RenderLimits limits;
    limits.stop = stop;
    ChatPrompt filled;  // a copy only where the model's texts are missing
    const bool complete = !prompt.bos_token.empty() && !prompt.eos_token.empty();
    if (!complete) filled = Filled(prompt);
    const ChatPrompt& used = complete ? prompt : filled;
    if (!prompt.continue_final_message) return w_.chat_template->Render(used, limits, mark);
    const std::string_view last = prompt.messages.back().content;
    std::string last_rendered(last);
    const TextMark remember = [&](std::string_view text, TextSlot slot) {
      std::string marked = mark ? mark(text, slot) : std::string(text);
      if (text == last) last_rendered = marked;
      return marked;
    };
    INK_ASSIGN_OR_RETURN(std::string text, w_.chat_template->Render(used, limits, remember));
    return CutAfterMessage(std::move(text), last_rendered);
  }

  ChatPrompt Filled(ChatPrompt prompt) const {
    const auto fill = [this](int32_t token, std::string* text) {
      if (text->empty() && token >= 0) *text = w_.tokenizer->TokenBytes(token);
    };
    fill(w_.tokenizer->bos_token(), &prompt.bos_token);
    fill(w_.tokenizer->eos_token(), &prompt.eos_token);
    return prompt;
  }

  Wiring w_;
  ChatEncoder encoder_;
};

std::string FileName(const std::string& path) {
  std::filesystem::path p = std::filesystem::path(path).lexically_normal();
  if (!p.has_filename()) p = p.parent_path();  // "folder/"
  std::error_code error;
  // "." and ".." are no names. Elsewhere links keep theirs, which says more than that of a blob in a cache.
  if (p.empty() || p == "." || p.filename() == "..") p = std::filesystem::canonical(path, error);
  return p.extension() == ".gguf" ? p.stem().string() : p.filename().string();
}

int64_t Elements(const TensorInfo& tensor) {
  int64_t elements = 1;
  for (const int64_t n : tensor.shape) elements *= n;
  return elements;
}

SessionInfo Describe(const Checkpoint& checkpoint, const ModelConfig& config) {
  SessionInfo info;
  info.model_id = FileName(checkpoint.path());
  info.model_name = config.name.empty() ? info.model_id : config.name;
  info.architecture = config.architecture;
  info.trained_context = config.context;
  std::array<int64_t, 256> by_type{};
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    info.parameters += Elements(tensor);
    by_type[static_cast<size_t>(tensor.dtype)] += Elements(tensor);
  }
  const auto most = std::max_element(by_type.begin(), by_type.end()) - by_type.begin();
  info.quantization = Info(static_cast<DType>(most)).name;
  for (const MappedFile& file : checkpoint.files()) info.file_bytes += static_cast<int64_t>(file.size());
  return info;
}

// Null where nothing is to be kept.
Result<std::unique_ptr<PageStore>> OpenStore(const Checkpoint& checkpoint, const ModelConfig& config,
                                             const Backend& backend, const AttentionWindow& window,
                                             const SessionOptions& options) {
  if (options.cache_folder.empty()) return std::unique_ptr<PageStore>();
  INK_ASSIGN_OR_RETURN(KvLayout layout, config.KvLayoutFor(options.kv_types.value_or(config.DefaultKvTypes())));
  layout.page_tokens = ModelLimits().page_tokens;
  return PageStore::Open({options.cache_folder, options.cache_bytes,
                          PageIdentity(checkpoint, config, layout, window, backend.name()), layout.page_bytes()});
}

// Null where all of the plan is in memory.
Result<std::unique_ptr<SpillDevice>> OpenSpill(const MemoryPlan& plan, const SessionOptions& options) {
  if (plan.spill_tokens == 0) return std::unique_ptr<SpillDevice>();
  const std::string& folder = options.spill_folder.empty() ? options.cache_folder : options.spill_folder;
  INK_ASSIGN_OR_RETURN(auto file, SpillFile::Create(folder, plan.spill_bytes));
  return std::unique_ptr<SpillDevice>(std::move(file));
}

MemoryContract ContractOf(const MemoryPlan& plan, const SessionOptions& options) {
  MemoryContract contract{plan.available, plan.weight_bytes, options.memory_hooks};
  if (!contract.hooks.sense) contract.hooks.sense = [probe = std::make_shared<MemoryProbe>()] { return probe->Read(); };
  return contract;
}

Status CheckOptions(const SessionOptions& options) {
  if (options.max_sequences < 1 || options.max_sequences > 256) {
    return InvalidArgument("sequences at once must be 1 to 256, found " + std::to_string(options.max_sequences));
  }
  // Every sequence that decodes has a row in each step.
  if (options.prompt_chunk < options.max_sequences || options.prompt_chunk > 8192) {
    return InvalidArgument("the prompt chunk must be at least the sequences at once, " +
                           std::to_string(options.max_sequences) + ", and at most 8192 tokens, found " +
                           std::to_string(options.prompt_chunk));
  }
  if (options.attention_window < 0 || options.attention_window > kMostPositions) {
    return InvalidArgument("the attention window must be 0 (off) to " + std::to_string(kMostPositions) +
                           " tokens, found " + std::to_string(options.attention_window));
  }
  if (options.attention_sinks < 0 || options.attention_sinks > kMostPositions) {
    return InvalidArgument("the attention sinks must be 0 to " + std::to_string(kMostPositions) + " tokens, found " +
                           std::to_string(options.attention_sinks));
  }
  if (options.spill_bytes > 0 && options.spill_folder.empty() && options.cache_folder.empty()) {
    return InvalidArgument("--spill-size: expected a folder for the file too, --spill-folder or --cache-folder");
  }
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<Session>> Session::Open(const SessionOptions& options) {
  INK_RETURN_IF_ERROR(CheckOptions(options));
  Wiring w;
  MemoryFacts facts;
  // Before the weights are mapped: an address-space limit counts them. What the governor keeps free is not to be had.
  const MemoryInfo machine = GetMemoryInfo();
  const auto reserve = static_cast<uint64_t>(LinesFor(0, machine.total).reserve);
  facts.available = machine.available - std::min(machine.available, reserve);
  INK_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(options.model));
  w.checkpoint = std::make_unique<Checkpoint>(std::move(checkpoint));
  INK_ASSIGN_OR_RETURN(const ModelConfig config, Model::ReadConfig(*w.checkpoint));
  w.info = Describe(*w.checkpoint, config);
  INK_ASSIGN_OR_RETURN(w.runtime, Runtime::Create({options.threads, options.cpu, options.pinning}));
  w.backend = w.runtime->NewBackend();
  // The contract comes before anything large is read.
  facts.weight_bytes = static_cast<uint64_t>(w.info.file_bytes);
  facts.parameters = w.info.parameters;
  INK_ASSIGN_OR_RETURN(const SessionPlan plan, PlanSession(*w.checkpoint, config, *w.backend, facts, options));

  INK_ASSIGN_OR_RETURN(w.tokenizer, Tokenizer::Load(*w.checkpoint));
  w.sampling = ReadDefaultSampling(w.checkpoint->metadata(), config.architecture, &w.info.warnings);
  for (const std::span<const std::string> more :
       {w.checkpoint->warnings(), std::span<const std::string>(config.warnings), w.tokenizer->warnings()}) {
    w.info.warnings.insert(w.info.warnings.end(), more.begin(), more.end());
  }
  // A model without a template, or with one that this program cannot read, still completes raw prompts.
  w.chat_template = ChatTemplateSet::Parse(w.tokenizer->chat_templates());
  INK_ASSIGN_OR_RETURN(auto model, Model::Load(*w.checkpoint, *w.backend, plan.limits));
  EngineOptions engine;
  engine.context = plan.memory.context;
  engine.kv_tokens = plan.memory.kv_tokens;
  engine.kv_types = plan.memory.kv_types;
  engine.window = plan.window;
  engine.prefix = options.prefix;
  engine.share = options.share;
  engine.allow_priority = options.allow_priority;
  engine.max_sequences = options.max_sequences;
  engine.max_queue = options.max_queue;
  engine.prompt_chunk = plan.limits.max_step_rows;
  engine.prefill_share = options.prefill_share;
  engine.spill_tokens = plan.memory.spill_tokens;
  EngineExtras extras;
  INK_ASSIGN_OR_RETURN(extras.spill, OpenSpill(plan.memory, options));
  INK_ASSIGN_OR_RETURN(extras.store, OpenStore(*w.checkpoint, config, *w.backend, plan.window, options));
  extras.memory = ContractOf(plan.memory, options);
  extras.on_disk = options.on_disk;
  INK_ASSIGN_OR_RETURN(w.engine, Engine::Create(std::move(model), *w.backend, *w.tokenizer, engine, std::move(extras)));
  std::vector<std::span<const std::byte>> weights;
  for (const MappedFile& file : w.checkpoint->files()) weights.push_back(file.bytes());
  w.meter = std::make_unique<MemoryMeter>(plan.memory, std::move(weights));

  w.info.context = engine.context;
  w.info.backend = w.backend->name();
  w.info.threads = w.runtime->threads().size();
  w.info.pinned = w.runtime->threads().pinned();
  w.info.has_chat_template = w.chat_template.ok();
  w.info.thinks = w.info.has_chat_template && w.tokenizer->chat_template().find("<think>") != std::string::npos;
  w.info.memory_report = plan.memory.Report();
  return std::unique_ptr<Session>(std::make_unique<SessionImpl>(std::move(w)));
}

}  // namespace inkstone

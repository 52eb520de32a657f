#include "engine/session_plan.h"

#include "engine/prefill_job.h"
#include "kvcache/page_store.h"

namespace inkstone {
namespace {

// What people should know of the cache's types, as a line; empty when there is nothing.
std::string KvNote(const ModelConfig& config, const std::optional<KvTypes>& wish) {
  const std::string trouble = config.KeyTypeTrouble(wish ? wish->k : DType::kQ8_0);
  if (trouble.empty()) return "";
  return wish ? "warning: " + trouble + "; --kv-type f16/q8_0 keeps them"
              : "keys are kept in F16: " + trouble + " (--kv-type decides otherwise)";
}

}  // namespace

Result<SessionPlan> PlanSession(const Checkpoint& checkpoint, const ModelConfig& config, const Backend& backend,
                                MemoryFacts facts, const SessionOptions& options) {
  SessionPlan plan;
  plan.limits.max_step_rows = options.prompt_chunk;
  plan.limits.max_sequences = options.max_sequences;
  plan.limits.max_logit_rows = options.max_sequences;
  plan.limits.max_context = config.context;
  INK_ASSIGN_OR_RETURN(facts.kv, config.KvLayoutFor(options.kv_types.value_or(config.DefaultKvTypes())));
  facts.kv.page_tokens = plan.limits.page_tokens;
  facts.trained_context = config.context;
  facts.activation_bytes =
      Model::ActivationBytes(config, backend, plan.limits) + PrefillJob::BufferBytes(config, plan.limits.max_step_rows);
  facts.runtime_bytes = EstimateRuntimeBytes(config.vocab, options.max_sequences);
  facts.connection_bytes = options.connection_bytes;
  facts.store_bytes = options.cache_folder.empty() ? 0 : PageStore::QueueBytes(facts.kv.page_bytes());
  plan.window = AttentionWindow::For(options.attention_window, options.attention_sinks, plan.limits.page_tokens);
  const MemoryWishes wishes{options.context, options.max_sequences, options.memory_limit,
                            plan.window,     options.spill_bytes,   options.prompt_chunk};
  auto memory = PlanMemory(facts, wishes);
  if (!memory.ok()) return Status(memory.status().code(), checkpoint.path() + ": " + memory.status().message());
  plan.memory = *memory;
  plan.memory.kv_note = KvNote(config, options.kv_types);
  plan.limits.max_context = plan.memory.context;
  return plan;
}

}  // namespace inkstone

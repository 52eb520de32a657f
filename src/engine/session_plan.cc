#include "engine/session_plan.h"

#include "engine/prefill_job.h"
#include "kvcache/page_store.h"

namespace inkstone {

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
  plan.limits.max_context = plan.memory.context;
  return plan;
}

}  // namespace inkstone

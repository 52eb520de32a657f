// The memory contract of a session: what it would take, from the model's files and the session's options.
#pragma once

#include "backends/backend.h"
#include "core/status.h"
#include "engine/session.h"
#include "formats/checkpoint.h"
#include "kvcache/attention_window.h"
#include "model/model.h"
#include "planner/memory_plan.h"

namespace inkstone {

struct SessionPlan {
  MemoryPlan memory;
  ModelLimits limits;  // that the model is loaded with
  AttentionWindow window;
};

// `facts` has what the files and the system say: weight bytes, parameters, available bytes; the rest is filled in.
// Errors as those of PlanMemory, with the model's path in front.
Result<SessionPlan> PlanSession(const Checkpoint& checkpoint, const ModelConfig& config, const Backend& backend,
                                MemoryFacts facts, const SessionOptions& options);

}  // namespace inkstone

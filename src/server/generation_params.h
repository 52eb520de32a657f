// What chat and completion requests have in common: sampling, lengths, stops, streaming.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "chat/context_policy.h"
#include "engine/request.h"
#include "server/api_error.h"
#include "server/json_fields.h"

namespace inkstone {

// What the parser must know about the model.
struct ModelFacts {
  int32_t vocab = 0;
  SamplingParams default_sampling;
  bool has_chat_template = false;
  int64_t context = 0;
  int64_t max_requests = INT32_MAX;  // that may run and wait at once
};

struct GenerationParams {
  GenerationRequest request;  // all but the prompt
  std::string model;          // as the client named it, may be empty
  int n = 1;
  bool stream = false;
  bool include_usage = false;
  bool return_progress = false;                 // prompt_progress chunks during prefill
  std::optional<ContextPolicy> context_policy;  // not set: the server's
};

// Reads the common fields. `default_max_tokens` applies when the request has no limit.
void ParseGenerationParams(FieldReader& fields, const ModelFacts& facts, int64_t default_max_tokens,
                           GenerationParams* params);
// Fails when so many prompts times `n` have no room in the queue even where it is empty.
void CheckChoices(FieldReader& fields, size_t prompts, const GenerationParams& params, const ModelFacts& facts);

}  // namespace inkstone

// An error as an OpenAI client sees it.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"
#include "server/http_types.h"

namespace inkstone {

struct ApiError {
  int status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param = {};      // the field, empty: null
  std::string code = {};       // empty: null
  int64_t prompt_tokens = -1;  // with code context_length_exceeded
  int64_t context = -1;
  int retry_after = 0;  // seconds, 0: no such header
};

// {"error":{"message","type","param","code"}}
std::string ErrorJson(const ApiError& error);
HttpResponse ErrorResponse(const ApiError& error);
// Maps a code of the engine: bad input 400, a full queue 429, a draining engine or one short of memory 503, a deadline
// that passed 504, the rest 500. Retry-After is the caller's to set.
ApiError ErrorFromStatus(const Status& status);
// The same for rendering and tokenizing a prompt, where a limit that is reached (kResourceExhausted) is bad input.
ApiError PromptError(const Status& status);
// `dropped_messages` older ones are already left out of the prompt.
enum class PromptCount { kExact, kAtLeast };
ApiError ContextLengthError(int64_t prompt_tokens, int64_t context, int64_t dropped_messages, const std::string& param,
                            PromptCount count = PromptCount::kExact);
ApiError InternalError(const std::string& message);

}  // namespace inkstone

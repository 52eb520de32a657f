// The body of POST /v1/chat/completions as native types.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "chat/chat_template.h"
#include "server/api_error.h"
#include "server/generation_params.h"

namespace inkstone {

struct ChatRequest {
  GenerationParams params;
  ChatPrompt prompt;
  bool parse_tools = false;  // tools were given and may be called
  bool parallel_tool_calls = true;
  size_t template_values = 0;  // JSON values in tools, calls and variables
};

// Checks every field that is read; fields that change an answer elsewhere are refused, others are ignored. No engine,
// no I/O.
std::optional<ApiError> ParseChatRequest(std::string_view body, const ModelFacts& facts, ChatRequest* request);
// Only what the template needs: for /apply-template.
std::optional<ApiError> ParseChatPrompt(FieldReader& fields, ChatRequest* request);

}  // namespace inkstone

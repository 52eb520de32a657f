// The bodies of POST /v1/completions, /generate, /tokenize and /detokenize as native types.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/api_error.h"
#include "server/generation_params.h"

namespace inkstone {

using PromptInput = std::variant<std::string, std::vector<int32_t>>;  // text, or tokens

struct CompletionRequest {
  GenerationParams params;
  std::vector<PromptInput> prompts;  // at least one
  bool echo = false;
};
std::optional<ApiError> ParseCompletionRequest(std::string_view body, const ModelFacts& facts,
                                               CompletionRequest* request);

struct GenerateRequest {
  std::string prompt;
  int64_t max_new_tokens = kDefaultMaxNewTokens;
  static constexpr int64_t kDefaultMaxNewTokens = 1024;
};
std::optional<ApiError> ParseGenerateRequest(std::string_view body, GenerateRequest* request);

struct TokenizeRequest {
  std::string content;
  bool add_special = false;   // BOS in front where the model wants one
  bool parse_special = true;  // text of special tokens becomes the token
  bool with_pieces = false;   // token texts beside the ids
};
std::optional<ApiError> ParseTokenizeRequest(std::string_view body, TokenizeRequest* request);
std::optional<ApiError> ParseDetokenizeRequest(std::string_view body, int32_t vocab, std::vector<int32_t>* tokens);

}  // namespace inkstone

#include "server/completion_request.h"

#include <boost/json.hpp>

#include "server/json_fields.h"
#include "server/request_limits.h"
#include "server/unsupported_fields.h"

namespace inkstone {
namespace {

using boost::json::value;

bool ParseTokens(FieldReader& fields, std::string_view name, const boost::json::array& items, int32_t vocab,
                 std::vector<int32_t>* tokens) {
  tokens->reserve(items.size());
  for (const value& item : items) {
    const auto token = AsInteger(item);
    if (!token || *token < 0 || *token >= vocab) {
      fields.Fail(name, "token ids from 0 to " + std::to_string(vocab - 1), &item);
      return false;
    }
    tokens->push_back(static_cast<int32_t>(*token));
  }
  return true;
}

void ParsePrompts(FieldReader& fields, const GenerationParams& params, const ModelFacts& facts,
                  std::vector<PromptInput>* prompts) {
  const value* found = fields.Find("prompt");
  if (found != nullptr && found->is_string()) {
    prompts->emplace_back(std::string(View(found->get_string())));
    return;
  }
  if (found == nullptr || !found->is_array() || found->get_array().empty()) {
    return fields.Fail("prompt", "a string, a list of strings, a list of tokens or a list of token lists", found);
  }
  const auto& items = found->get_array();
  if (items[0].is_number()) {
    std::vector<int32_t> tokens;
    if (ParseTokens(fields, "prompt", items, facts.vocab, &tokens)) prompts->emplace_back(std::move(tokens));
    return;
  }
  if (items.size() > kMaxPrompts) {
    return fields.Fail("prompt", "at most " + std::to_string(kMaxPrompts) + " prompts", found);
  }
  CheckChoices(fields, items.size(), params, facts);
  if (!fields.ok()) return;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string name = "prompt[" + std::to_string(i) + "]";
    if (items[i].is_string()) {
      prompts->emplace_back(std::string(View(items[i].get_string())));
    } else if (items[i].is_array() && !items[i].get_array().empty()) {
      std::vector<int32_t> tokens;
      if (!ParseTokens(fields, name, items[i].get_array(), facts.vocab, &tokens)) return;
      prompts->emplace_back(std::move(tokens));
    } else {
      return fields.Fail(name, "a string or a list of tokens", &items[i]);
    }
  }
}

void ParseLogprobs(FieldReader& fields, const CompletionRequest& completion, GenerationRequest* request) {
  const value* found = fields.Find("logprobs");
  if (found == nullptr) return;
  int64_t top = 0;
  if (found->is_bool()) {
    if (!found->get_bool()) return;
  } else if (!fields.Integer("logprobs", 0, 20, &top)) {
    return;
  }
  if (completion.echo) {
    return fields.FailWith("logprobs",
                           "'logprobs' together with 'echo' is not supported: the log-probabilities of "
                           "the prompt's tokens are not kept; leave one of them out",
                           "unsupported");
  }
  request->top_logprobs = static_cast<int>(top);
}

// A prompt may be a list of tokens, as many as the context holds.
size_t MostValues(const ModelFacts& facts) { return kMaxJsonValues + static_cast<size_t>(facts.context); }

}  // namespace

std::optional<ApiError> ParseCompletionRequest(std::string_view body, const ModelFacts& facts,
                                               CompletionRequest* request) {
  constexpr int64_t kDefaultMaxTokens = 16;  // OpenAI's
  boost::json::object object;
  if (auto error = ParseBody(body, &object, MostValues(facts))) return error;
  FieldReader fields(object);
  RefuseUnsupported(fields, FieldScope::kCompletion);
  ParseGenerationParams(fields, facts, kDefaultMaxTokens, &request->params);
  fields.Bool("echo", &request->echo);
  if (fields.ok()) ParsePrompts(fields, request->params, facts, &request->prompts);
  ParseLogprobs(fields, *request, &request->params.request);
  return fields.error();
}

std::optional<ApiError> ParseGenerateRequest(std::string_view body, GenerateRequest* request) {
  boost::json::object object;
  if (auto error = ParseBody(body, &object)) return error;
  FieldReader fields(object);
  fields.RequiredString("prompt", &request->prompt);
  fields.Integer("max_new_tokens", 1, INT32_MAX, &request->max_new_tokens);
  return fields.error();
}

std::optional<ApiError> ParseTokenizeRequest(std::string_view body, TokenizeRequest* request) {
  boost::json::object object;
  if (auto error = ParseBody(body, &object)) return error;
  FieldReader fields(object);
  const value* content = fields.Find("content");
  if (content != nullptr && content->is_string() && content->get_string().size() > kMaxTokenizeBytes) {
    fields.Fail("content", "at most " + std::to_string(kMaxTokenizeBytes) + " bytes", content);
  }
  fields.RequiredString("content", &request->content);
  fields.Bool("add_special", &request->add_special);
  fields.Bool("parse_special", &request->parse_special);
  fields.Bool("with_pieces", &request->with_pieces);
  return fields.error();
}

std::optional<ApiError> ParseDetokenizeRequest(std::string_view body, int32_t vocab, std::vector<int32_t>* tokens) {
  boost::json::object object;
  if (auto error = ParseBody(body, &object)) return error;
  FieldReader fields(object);
  const value* found = fields.Find("tokens");
  if (found == nullptr || !found->is_array()) {
    fields.Fail("tokens", "a list of token ids", found);
  } else {
    ParseTokens(fields, "tokens", found->get_array(), vocab, tokens);
  }
  return fields.error();
}

}  // namespace inkstone

#include "server/api_error.h"

#include "server/json_writer.h"

namespace inkstone {

std::string ErrorJson(const ApiError& error) {
  JsonWriter json;
  json.BeginObject().Key("error").BeginObject();
  json.Field("message", error.message).Field("type", error.type);
  if (error.param.empty()) {
    json.Key("param").Null();
  } else {
    json.Field("param", error.param);
  }
  if (error.code.empty()) {
    json.Key("code").Null();
  } else {
    json.Field("code", error.code);
  }
  if (error.prompt_tokens >= 0) json.Field("n_prompt_tokens", error.prompt_tokens);
  if (error.context >= 0) json.Field("n_ctx", error.context);
  return json.EndObject().EndObject().Take();
}

HttpResponse ErrorResponse(const ApiError& error) {
  HttpResponse response{.status = error.status, .body = ErrorJson(error)};
  if (error.retry_after > 0) response.headers.emplace_back("Retry-After", std::to_string(error.retry_after));
  return response;
}

ApiError ErrorFromStatus(const Status& status) {
  ApiError error{.message = status.message()};
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
      break;
    case StatusCode::kUnimplemented:
      error.code = "unsupported";
      break;
    case StatusCode::kNotFound:
      error.status = 404;
      error.code = "not_found";
      break;
    case StatusCode::kResourceExhausted:
      error = {.status = 429, .message = status.message(), .type = "rate_limit_error", .code = "queue_full"};
      break;
    case StatusCode::kUnavailable:
    case StatusCode::kCancelled:
      error = {.status = 503, .message = status.message(), .type = "server_error", .code = "unavailable"};
      break;
    case StatusCode::kOverloaded:
      error = {.status = 503, .message = status.message(), .type = "server_error", .code = "memory_pressure"};
      break;
    case StatusCode::kDeadlineExceeded:
      error = {.status = 504, .message = status.message(), .type = "timeout", .code = "deadline_exceeded"};
      break;
    default:
      error = InternalError(status.message());
  }
  return error;
}

ApiError PromptError(const Status& status) {
  if (status.code() != StatusCode::kResourceExhausted) return ErrorFromStatus(status);
  return {.message = status.message(), .code = "prompt_limit"};
}

ApiError ContextLengthError(int64_t prompt_tokens, int64_t context, int64_t dropped_messages, const std::string& param,
                            PromptCount count) {
  const std::string without =
      dropped_messages == 0 ? "" : " even without " + std::to_string(dropped_messages) + " older messages";
  // Agents recognise the first sentence and compact their history when they see it.
  return {.message = "This model's maximum context length is " + std::to_string(context) +
                     " tokens. However, the prompt has " + (count == PromptCount::kAtLeast ? "at least " : "") +
                     std::to_string(prompt_tokens) + " tokens" + without +
                     ", and the answer needs room for at least one more. Shorten the messages, or start the "
                     "server with a larger context.",
          .param = param,
          .code = "context_length_exceeded",
          .prompt_tokens = prompt_tokens,
          .context = context};
}

ApiError InternalError(const std::string& message) {
  return {.status = 500, .message = message, .type = "server_error", .code = "internal_error"};
}

}  // namespace inkstone

// Request bodies to native requests, request targets, and the parsers of what a model writes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "server/access.h"
#include "server/chat_request.h"
#include "server/completion_request.h"
#include "server/json_writer.h"
#include "server/reasoning_parser.h"
#include "server/router.h"
#include "server/tool_call_parser.h"

namespace inkstone {
namespace {

const ModelFacts& Facts() {
  static const ModelFacts facts{.vocab = 1000, .default_sampling = {}, .has_chat_template = true};
  return facts;
}

void Require(bool condition) {
  if (!condition) std::abort();
}

// What the parsers give must not depend on how the text was cut.
std::string Streamed(std::string_view text, size_t step) {
  ReasoningParser reasoning(ThinkStart::kMaybe);
  ToolCallParser tools(true);
  std::string thought;
  std::string content;
  std::string calls;
  const auto take = [&](const ToolCallParser::Parts& parts) {
    content += parts.content;
    for (const auto& call : parts.calls) calls += call.name + call.arguments + "\n";
  };
  for (size_t i = 0; i < text.size(); i += step) {
    const auto parts = reasoning.Push(text.substr(i, step));
    thought += parts.reasoning;
    take(tools.Push(parts.answer));
  }
  const auto rest = reasoning.Finish(true);
  take(tools.Push(rest.answer));
  take(tools.Finish());
  return thought + rest.reasoning + "|" + content + "|" + calls;
}

void TestTarget(std::string_view text) {
  HttpRequest request;
  request.method = "GET";
  if (!ParseTarget(text, &request)) return;
  Require(request.path.starts_with('/'));
  request.QueryValue("q");
  RouteName(request);
  request.headers = {{"host", std::string(text)}, {"origin", std::string(text)}};
  static_cast<void>(CheckAccess(request, {}));
}

}  // namespace
}  // namespace inkstone

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inkstone;  // NOLINT: this function lies outside
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  switch (data[0] % 5) {
    case 0: {
      ChatRequest request;
      if (const auto error = ParseChatRequest(text, Facts(), &request))
        Require(ParseJson(ErrorJson(*error)).has_value());
      break;
    }
    case 1: {
      CompletionRequest request;
      if (!ParseCompletionRequest(text, Facts(), &request)) Require(!request.prompts.empty());
      break;
    }
    case 2:
      TestTarget(text);
      break;
    case 3:
      Require(Streamed(text, 1) == Streamed(text, text.size()));
      break;
    default:
      if (const auto value = ParseJson(text)) Require(ParseJson(ToJson(*value)).has_value());
      Require(ParseJson(JsonWriter().Value(text).Take()).has_value());
  }
  return 0;
}

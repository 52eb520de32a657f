#include "server/chat_request.h"
#include "server/chat_responder.h"
#include "server/endpoints.h"

namespace inkstone {
namespace {

// Where thinking begins: the model's template knows <think>, and perhaps the prompt has opened it.
Result<ThinkStart> FindThinkStart(const Session& session, const ChatPrompt& prompt) {
  if (!session.info().thinks) return ThinkStart::kNever;
  INK_ASSIGN_OR_RETURN(const std::string text, session.RenderChat(prompt));
  const size_t last = text.find_last_not_of(" \t\r\n");
  const bool open = last != std::string::npos && std::string_view(text).substr(0, last + 1).ends_with("<think>");
  return open ? ThinkStart::kInside : ThinkStart::kMaybe;
}

PlanOrError PrepareChat(Service& service, const std::string& body) {
  Session& session = service.session;
  ChatRequest request;
  if (auto error = ParseChatRequest(body, FactsOf(session), &request)) return *error;
  FillTemplateTokens(session.tokenizer(), &request.prompt);
  const auto think = FindThinkStart(session, request.prompt);
  if (!think.ok()) return ErrorFromStatus(think.status());
  auto tokens = session.EncodeChat(request.prompt);
  if (!tokens.ok()) return ErrorFromStatus(tokens.status());
  if (auto error = CheckContext(session, tokens->size(), "messages")) return *error;

  GenerationParams& params = request.params;
  ChatResponderOptions options;
  options.head = {RandomId("chatcmpl-"), "chat.completion.chunk", UnixSeconds(), session.info().model_id,
                  Fingerprint(session)};
  options.choices = params.n;
  options.include_usage = params.include_usage;
  options.return_progress = params.return_progress;
  options.logprobs = params.request.top_logprobs >= 0;
  options.think = *think;
  options.parse_tools = request.parse_tools;
  options.reasoning_field = service.options.reasoning_field;
  options.prompt_tokens = static_cast<int64_t>(tokens->size());

  GenerationPlan plan;
  plan.stream = params.stream;
  plan.responder = std::make_unique<ChatResponder>(std::move(options), session.tokenizer());
  params.request.prompt = std::move(*tokens);
  for (int i = 0; i < params.n; ++i) {
    plan.requests.push_back(params.request);
    auto& seed = plan.requests.back().sampling.seed;
    if (seed) *seed += static_cast<uint64_t>(i);
  }
  return plan;
}

}  // namespace

void HandleChatCompletions(Service& service, const HttpRequest& request, ExchangePtr exchange) {
  StartGeneration(service, std::move(exchange), [&service, body = request.body] { return PrepareChat(service, body); });
}

}  // namespace inkstone

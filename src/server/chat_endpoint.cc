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

// Of a text that several clients may have in common. A template that cannot write it on its own has none.
int64_t SharedTokens(const Session& session, const Engine& engine, const FittedChat& fitted) {
  if (engine.options().share != PrefixShare::kSystem) return 0;
  const auto encode = [&session](const ChatPrompt& prompt) { return session.EncodeChat(prompt); };
  const Result<int64_t> tokens = SystemTokens(fitted.prompt, fitted.tokens, encode);
  return tokens.ok() ? *tokens : 0;
}

PlanOrError PrepareChat(Service& service, const HttpRequest& http) {
  Session& session = service.session;
  ChatRequest request;
  if (auto error = ParseChatRequest(http.body, FactsOf(session), &request)) return *error;
  FillTemplateTokens(session.tokenizer(), &request.prompt);
  GenerationParams& params = request.params;
  const ContextPolicy policy = params.context_policy.value_or(service.options.context_policy);
  const auto room = ContextRoom::For(session.engine().options().context, params.request.max_tokens);
  auto fitted = FitChat(std::move(request.prompt), policy, room,
                        [&session](const ChatPrompt& prompt) { return session.EncodeChat(prompt); });
  if (!fitted.ok()) return PromptError(fitted.status());
  if (auto error = CheckContext(session, fitted->tokens.size(), fitted->dropped, "messages")) return *error;
  params.request.shared_tokens = SharedTokens(session, session.engine(), *fitted);
  const auto think = FindThinkStart(session, fitted->prompt);
  if (!think.ok()) return PromptError(think.status());

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
  options.prompt_tokens = static_cast<int64_t>(fitted->tokens.size());
  options.context = {policy, fitted->dropped};

  GenerationPlan plan;
  plan.stream = params.stream;
  plan.context = options.context;
  plan.responder = std::make_unique<ChatResponder>(std::move(options), session.tokenizer());
  params.request.prompt = std::move(fitted->tokens);
  params.request.origin = OriginOf(http);
  for (int i = 0; i < params.n; ++i) {
    plan.requests.push_back(params.request);
    auto& seed = plan.requests.back().sampling.seed;
    if (seed) *seed += static_cast<uint64_t>(i);
  }
  return plan;
}

}  // namespace

void HandleChatCompletions(Service& service, const HttpRequest& request, ExchangePtr exchange) {
  StartGeneration(service, std::move(exchange), [&service, request] { return PrepareChat(service, request); });
}

}  // namespace inkstone

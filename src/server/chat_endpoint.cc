#include "server/chat_request.h"
#include "server/chat_responder.h"
#include "server/endpoints.h"

namespace inkstone {
namespace {

// Where thinking begins: the model's template knows <think>, and perhaps the prompt has opened it.
Result<ThinkStart> FindThinkStart(const Session& session, const ChatPrompt& prompt, const std::stop_token& stop) {
  if (!session.info().thinks) return ThinkStart::kNever;
  INK_ASSIGN_OR_RETURN(const std::string text, session.RenderChat(prompt, stop));
  const size_t last = text.find_last_not_of(" \t\r\n");
  const bool open = last != std::string::npos && std::string_view(text).substr(0, last + 1).ends_with("<think>");
  return open ? ThinkStart::kInside : ThinkStart::kMaybe;
}

// What a template may leave out of an answer of the assistant are its thoughts.
size_t BytesOf(const ChatMessage& message) {
  constexpr std::string_view kThoughtsEnd = "</think>";
  const size_t end = message.role == "assistant" ? message.content.rfind(kThoughtsEnd) : std::string::npos;
  return message.content.size() - (end == std::string::npos ? 0 : end + kThoughtsEnd.size());
}

// Messages so long that no tokenizer could fit them into the context are refused before they are rendered. What the
// policy may drop is left alone: all before the newest round.
std::optional<ApiError> CheckTexts(Session& session, const ChatPrompt& prompt, const ContextPolicy& policy) {
  const std::vector<size_t> starts = RoundStarts(prompt.messages);
  const bool all = policy.kind == ContextPolicy::Kind::kReject || starts.empty();
  size_t kept = 0;
  size_t whole = 0;
  for (size_t i = 0; i < prompt.messages.size(); ++i) {
    const ChatMessage& message = prompt.messages[i];
    whole += message.content.size() + message.reasoning_content.size();
    if (all || i >= starts.back()) kept += BytesOf(message);
  }
  if (auto error = CheckTextBytes(session, kept, "messages")) return error;
  return CheckWholeText(session, whole, "messages");
}

// Of a text that several clients may have in common. A template that cannot write it on its own has none.
int64_t SharedTokens(const Session& session, const Engine& engine, const FittedChat& fitted,
                     const std::stop_token& stop) {
  if (engine.options().share != PrefixShare::kSystem) return 0;
  const auto encode = [&](const ChatPrompt& prompt) { return session.EncodeChat(prompt, stop); };
  const Result<int64_t> tokens = SystemTokens(fitted.prompt, fitted.tokens, encode);
  return tokens.ok() ? *tokens : 0;
}

PlanOrError PrepareChat(Service& service, HttpRequest&& http) {
  Session& session = service.session;
  ChatRequest request;
  if (auto error = ParseChatRequest(http.body, FactsOf(session), &request)) return *error;
  http.body = {};  // all that is wanted of it has been read
  FillTemplateTokens(session.tokenizer(), &request.prompt);
  GenerationParams& params = request.params;
  const ContextPolicy policy = params.context_policy.value_or(service.options.context_policy);
  if (auto error = CheckTexts(session, request.prompt, policy)) return *error;
  const auto room = ContextRoom::For(session.engine().options().context, params.request.max_tokens);
  auto fitted = FitChat(std::move(request.prompt), policy, room,
                        [&](const ChatPrompt& prompt) { return session.EncodeChat(prompt, http.stop); });
  if (!fitted.ok()) return PromptError(fitted.status());
  if (auto error = CheckContext(session, fitted->tokens.size(), fitted->dropped, "messages")) return *error;
  params.request.shared_tokens = SharedTokens(session, session.engine(), *fitted, http.stop);
  const auto think = FindThinkStart(session, fitted->prompt, http.stop);
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
  options.parallel_tool_calls = request.parallel_tool_calls;
  if (request.parse_tools) options.tool_types = std::make_shared<ToolTypes>(fitted->prompt.tools);
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
  StartGeneration(service, request, std::move(exchange),
                  [&service](HttpRequest&& copy) { return PrepareChat(service, std::move(copy)); });
}

}  // namespace inkstone

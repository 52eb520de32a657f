#include <charconv>

#include "server/completion_request.h"
#include "server/completion_responder.h"
#include "server/endpoints.h"

namespace inkstone {
namespace {

Result<std::vector<int32_t>> EncodeRaw(const Tokenizer& tokenizer, const std::string& text,
                                       const std::stop_token& stop) {
  std::vector<int32_t> tokens;
  if (tokenizer.add_bos() && tokenizer.bos_token() >= 0) tokens.push_back(tokenizer.bos_token());
  INK_ASSIGN_OR_RETURN(const auto encoded, tokenizer.TryEncode(text, SpecialText::kRecognize, stop));
  tokens.insert(tokens.end(), encoded.begin(), encoded.end());
  return tokens;
}

ApiError EmptyPrompt(const std::string& param) {
  return {.message = "'" + param + "': expected at least one token, found an empty prompt", .param = param};
}

// The policy for prompts that have no rounds: where a server keeps N rounds, it keeps the newest tokens of these.
std::variant<ContextPolicy, ApiError> RawPolicy(const GenerationParams& params, const ContextPolicy& of_server) {
  const bool rounds = params.context_policy && params.context_policy->kind == ContextPolicy::Kind::kRounds;
  if (rounds) {
    return ApiError{
        .message = "'context_policy': a raw prompt has no rounds; expected \"reject\" or \"window\", found \"" +
                   params.context_policy->Name() + "\"",
        .param = "context_policy",
        .code = "unsupported"};
  }
  const ContextPolicy policy = params.context_policy.value_or(of_server);
  return policy.kind == ContextPolicy::Kind::kReject ? policy : ContextPolicy{ContextPolicy::Kind::kWindow, 0};
}

PlanOrError PrepareCompletion(Service& service, HttpRequest&& http) {
  Session& session = service.session;
  const Tokenizer& tokenizer = session.tokenizer();
  CompletionRequest request;
  if (auto error = ParseCompletionRequest(http.body, FactsOf(session), &request)) return *error;
  http.body = {};  // all that is wanted of it has been read
  GenerationParams& params = request.params;
  const auto policy = RawPolicy(params, service.options.context_policy);
  if (const auto* error = std::get_if<ApiError>(&policy)) return *error;
  params.request.origin = OriginOf(http);
  const auto room = ContextRoom::For(session.engine().options().context, params.request.max_tokens);

  CompletionResponderOptions options;
  options.head = {RandomId("cmpl-"), "text_completion", UnixSeconds(), session.info().model_id, Fingerprint(session)};
  options.choices_per_prompt = params.n;
  options.include_usage = params.include_usage;
  options.return_progress = params.return_progress;
  options.logprobs = params.request.top_logprobs >= 0;
  options.context.policy = std::get<ContextPolicy>(policy);

  GenerationPlan plan;
  plan.stream = params.stream;
  for (PromptInput& prompt : request.prompts) {
    const auto* text = std::get_if<std::string>(&prompt);
    if (text != nullptr) {
      const bool whole = options.context.policy.kind == ContextPolicy::Kind::kReject;
      const auto check = whole ? CheckTextBytes : CheckWholeText;
      if (auto error = check(session, text->size(), "prompt")) return *error;
    }
    auto encoded = text != nullptr ? EncodeRaw(tokenizer, *text, http.stop)
                                   : Result<std::vector<int32_t>>(std::get<std::vector<int32_t>>(std::move(prompt)));
    if (!encoded.ok()) return PromptError(encoded.status());
    std::vector<int32_t>& tokens = *encoded;
    if (tokens.empty()) return EmptyPrompt("prompt");
    const int64_t dropped = FitTokens(&tokens, options.context.policy, room, tokenizer.bos_token());
    options.context.dropped.tokens += dropped;
    if (auto error = CheckContext(session, tokens.size(), {}, "prompt")) return *error;
    options.prompt_tokens += static_cast<int64_t>(tokens.size());
    std::string echo;
    if (request.echo) echo = text != nullptr && dropped == 0 ? *text : tokenizer.Decode(tokens, false);
    params.request.prompt = std::move(tokens);
    for (int i = 0; i < params.n; ++i) {
      plan.requests.push_back(params.request);
      auto& seed = plan.requests.back().sampling.seed;
      if (seed) *seed += static_cast<uint64_t>(i);
    }
    options.echo.push_back(std::move(echo));
    prompt = {};
  }
  plan.context = options.context;
  plan.responder = std::make_unique<CompletionResponder>(std::move(options), tokenizer);
  return plan;
}

// What /stream and /generate ask, as one user's turn or as it is: one round, of which nothing is dropped.
PlanOrError PreparePlain(Session& session, const GenerateRequest& request, const HttpRequest& http,
                         const std::string& param) {
  if (auto error = CheckTextBytes(session, request.prompt.size(), param)) return *error;
  GenerationRequest generation;
  generation.sampling = session.default_sampling();
  generation.max_tokens = request.max_new_tokens;
  generation.origin = OriginOf(http);
  if (session.info().has_chat_template) {
    ChatPrompt prompt;
    ChatMessage& turn = prompt.messages.emplace_back();
    turn.role = "user";
    turn.content = request.prompt;
    prompt.enable_thinking = false;
    FillTemplateTokens(session.tokenizer(), &prompt);
    auto tokens = session.EncodeChat(prompt, http.stop);
    if (!tokens.ok()) return PromptError(tokens.status());
    generation.prompt = std::move(*tokens);
  } else {
    auto tokens = EncodeRaw(session.tokenizer(), request.prompt, http.stop);
    if (!tokens.ok()) return PromptError(tokens.status());
    generation.prompt = std::move(*tokens);
  }
  if (generation.prompt.empty()) return EmptyPrompt(param);
  if (auto error = CheckContext(session, generation.prompt.size(), {}, param)) return *error;
  GenerationPlan plan;
  plan.stream = http.path == "/stream";
  plan.requests.push_back(std::move(generation));
  plan.responder = std::make_unique<PlainResponder>();
  return plan;
}

PlanOrError PrepareStream(Session& session, const HttpRequest& http) {
  GenerateRequest request{.prompt = http.QueryValue("q")};
  if (request.prompt.empty()) {
    return ApiError{.message = "'q': expected the prompt as a query parameter, found nothing", .param = "q"};
  }
  if (const std::string limit = http.QueryValue("max_new_tokens"); !limit.empty()) {
    const auto parsed = std::from_chars(limit.data(), limit.data() + limit.size(), request.max_new_tokens);
    if (parsed.ec != std::errc() || parsed.ptr != limit.data() + limit.size() || request.max_new_tokens < 1) {
      return ApiError{.message = "'max_new_tokens': expected an integer of at least 1, found \"" + limit + "\"",
                      .param = "max_new_tokens"};
    }
  }
  return PreparePlain(session, request, http, "q");
}

PlanOrError PrepareGenerate(Session& session, const HttpRequest& http) {
  GenerateRequest request;
  if (auto error = ParseGenerateRequest(http.body, &request)) return *error;
  return PreparePlain(session, request, http, "prompt");
}

}  // namespace

void HandleCompletions(Service& service, const HttpRequest& request, ExchangePtr exchange) {
  StartGeneration(service, request, std::move(exchange),
                  [&service](HttpRequest&& copy) { return PrepareCompletion(service, std::move(copy)); });
}

void HandleStream(Service& service, const HttpRequest& request, ExchangePtr exchange) {
  StartGeneration(service, request, std::move(exchange),
                  [&service](HttpRequest&& copy) { return PrepareStream(service.session, copy); });
}

void HandleGenerate(Service& service, const HttpRequest& request, ExchangePtr exchange) {
  StartGeneration(service, request, std::move(exchange),
                  [&service](HttpRequest&& copy) { return PrepareGenerate(service.session, copy); });
}

}  // namespace inkstone

#include <boost/json.hpp>

#include "server/answer_json.h"
#include "server/chat_request.h"
#include "server/completion_request.h"
#include "server/endpoints.h"
#include "server/json_writer.h"
#include "server/memory_json.h"
#include "server/request_limits.h"
#include "server/unsupported_fields.h"

namespace inkstone {
namespace {

void WriteModel(JsonWriter& json, const SessionInfo& info) {
  json.BeginObject().Field("id", info.model_id).Field("object", "model").Field("created", 0);
  json.Field("owned_by", "inkstone").Field("name", info.model_name).Field("context_length", info.context);
  json.Key("meta").BeginObject();
  json.Field("n_ctx", info.context).Field("n_ctx_train", info.trained_context);
  json.Field("n_params", info.parameters).Field("size", info.file_bytes).EndObject().EndObject();
}

void WriteSampling(JsonWriter& json, const SamplingParams& sampling) {
  json.Key("default_generation_settings").BeginObject();
  json.Field("temperature", sampling.temperature).Field("top_k", sampling.top_k).Field("top_p", sampling.top_p);
  json.Field("min_p", sampling.min_p).Field("typical_p", sampling.typical_p);
  json.Field("repetition_penalty", sampling.repetition_penalty);
  json.Field("presence_penalty", sampling.presence_penalty);
  json.Field("frequency_penalty", sampling.frequency_penalty).EndObject();
}

MemoryAccount MemoryOf(Service& service) {
  MemoryAccount account = service.session.memory();
  // Of a connection's own part, what it has without a large head.
  constexpr uint64_t kUsually = 16 << 10;
  account[MemoryPurpose::kConnections].actual =
      service.buffers->taken() + kUsually * static_cast<uint64_t>(service.metrics.connections());
  account.FillRuntime();
  return account;
}

ApiError AnswerTooLong(const std::string& param) {
  return {.message = "'" + param + "': the answer would be longer than " + std::to_string(kMaxAnswerBytes) +
                     " bytes; ask for less at a time",
          .param = param,
          .code = "request_limit"};
}

HttpResponse TokenizeResponse(const Tokenizer& tokenizer, HttpRequest&& http) {
  TokenizeRequest request;
  if (auto error = ParseTokenizeRequest(http.body, &request)) return ErrorResponse(*error);
  http.body = {};
  const auto mode = request.parse_special ? SpecialText::kRecognize : SpecialText::kPlain;
  auto encoded = tokenizer.TryEncode(request.content, mode, http.stop);
  if (!encoded.ok()) return ErrorResponse(PromptError(encoded.status()));
  std::vector<int32_t>& tokens = *encoded;
  if (request.add_special && tokenizer.add_bos() && tokenizer.bos_token() >= 0) {
    tokens.insert(tokens.begin(), tokenizer.bos_token());
  }
  JsonWriter json;
  json.BeginObject().Key("tokens").BeginArray();
  for (const int32_t token : tokens) {
    if (json.size() > kMaxAnswerBytes) return ErrorResponse(AnswerTooLong("content"));
    if (request.with_pieces) {
      json.BeginObject().Field("id", token).Field("piece", tokenizer.TokenBytes(token)).EndObject();
    } else {
      json.Value(token);
    }
  }
  return {.body = json.EndArray().EndObject().Take()};
}

HttpResponse DetokenizeResponse(const Tokenizer& tokenizer, const std::string& body) {
  std::vector<int32_t> tokens;
  if (auto error = ParseDetokenizeRequest(body, tokenizer.vocab_size(), &tokens)) return ErrorResponse(*error);
  size_t bytes = 0;
  for (const int32_t token : tokens) bytes += tokenizer.TokenBytes(token).size();
  if (bytes > kMaxAnswerBytes) return ErrorResponse(AnswerTooLong("tokens"));
  return {.body = JsonWriter().BeginObject().Field("content", tokenizer.Decode(tokens, false)).EndObject().Take()};
}

HttpResponse TemplateResponse(Session& session, HttpRequest&& http) {
  boost::json::object object;
  if (auto error = ParseBody(http.body, &object)) return ErrorResponse(*error);
  http.body = {};
  FieldReader fields(object);
  RefuseUnsupported(fields, FieldScope::kChat);
  ChatRequest request;
  if (auto error = ParseChatPrompt(fields, &request)) return ErrorResponse(*error);
  FillTemplateTokens(session.tokenizer(), &request.prompt);
  const auto text = session.RenderChat(request.prompt, http.stop);
  if (!text.ok()) return ErrorResponse(PromptError(text.status()));
  return {.body = JsonWriter().BeginObject().Field("prompt", *text).EndObject().Take()};
}

}  // namespace

ModelFacts FactsOf(Session& session) {
  return {.vocab = session.tokenizer().vocab_size(),
          .default_sampling = session.default_sampling(),
          .has_chat_template = session.info().has_chat_template,
          .context = session.engine().options().context,
          .max_requests = session.engine().options().MostOfOneOrigin()};
}

void FillTemplateTokens(const Tokenizer& tokenizer, ChatPrompt* prompt) {
  prompt->bos_token = tokenizer.TokenBytes(tokenizer.bos_token());
  prompt->eos_token = tokenizer.TokenBytes(tokenizer.eos_token());
}

void HandleModels(Service& service, const HttpRequest&, ExchangePtr exchange) {
  JsonWriter json;
  json.BeginObject().Field("object", "list").Key("data").BeginArray();
  WriteModel(json, service.session.info());
  exchange->Reply({.body = json.EndArray().EndObject().Take()});
}

void HandleModel(Service& service, const HttpRequest& request, ExchangePtr exchange) {
  const std::string_view wanted = std::string_view(request.path).substr(std::string_view("/v1/models/").size());
  const SessionInfo& info = service.session.info();
  if (wanted != info.model_id) {
    return exchange->Reply(ErrorResponse({.status = 404,
                                          .message = "There is no model \"" + std::string(wanted) +
                                                     "\" here; this server runs \"" + info.model_id + "\"",
                                          .param = "model",
                                          .code = "model_not_found"}));
  }
  JsonWriter json;
  WriteModel(json, info);
  exchange->Reply({.body = json.Take()});
}

void HandleHealth(Service& service, const HttpRequest&, ExchangePtr exchange) {
  if (service.draining) {
    return exchange->Reply(ErrorResponse(EngineError(service, Unavailable("the server is shutting down"))));
  }
  exchange->Reply({.body = R"({"status":"ok"})"});
}

void HandleMetrics(Service& service, const HttpRequest&, ExchangePtr exchange) {
  exchange->Reply({.content_type = "text/plain; version=0.0.4; charset=utf-8",
                   .body = service.metrics.Text(service.session.engine().stats(), MemoryOf(service))});
}

void HandleProps(Service& service, const HttpRequest&, ExchangePtr exchange) {
  const SessionInfo& info = service.session.info();
  const EngineOptions& engine = service.session.engine().options();
  JsonWriter json;
  json.BeginObject().Field("model", info.model_name).Field("model_id", info.model_id);
  json.Field("version", INKSTONE_VERSION).Field("context", info.context).Field("n_ctx", info.context);
  json.Field("trained_context", info.trained_context).Field("architecture", info.architecture);
  json.Field("parameters", info.parameters).Field("quantization", info.quantization);
  json.Field("file_bytes", info.file_bytes).Field("backend", info.backend).Field("threads", info.threads);
  json.Field("total_slots", engine.max_sequences).Field("max_queue", engine.max_queue);
  json.Field("kv_type", KvTypesName(engine.kv_types)).Field("kv_tokens", engine.kv_tokens);
  const SpillStats spill = service.session.engine().stats().spill;
  json.Key("spill").BeginObject().Field("tokens", engine.spill_tokens).Field("pages", spill.pages);
  json.Field("trouble", spill.trouble).EndObject();
  json.Field("attention_window", engine.window.tokens).Field("attention_sinks", engine.window.sinks);
  json.Field("context_policy", service.options.context_policy.Name());
  json.Field("has_chat_template", info.has_chat_template).Field("thinks", info.thinks);
  json.Field("chat_template", service.session.tokenizer().chat_template());
  json.Field("memory_report", info.memory_report).Key("memory");
  WriteMemory(json, MemoryOf(service), service.session.engine().stats());
  WriteSampling(json, service.session.default_sampling());
  exchange->Reply({.body = json.EndObject().Take()});
}

void HandleTokenize(Service& service, const HttpRequest& request, ExchangePtr exchange) {
  ReplyFromWorker(service, request, std::move(exchange), [&service](HttpRequest&& copy) {
    return TokenizeResponse(service.session.tokenizer(), std::move(copy));
  });
}

void HandleDetokenize(Service& service, const HttpRequest& request, ExchangePtr exchange) {
  ReplyFromWorker(service, request, std::move(exchange), [&service](HttpRequest&& copy) {
    return DetokenizeResponse(service.session.tokenizer(), copy.body);
  });
}

void HandleApplyTemplate(Service& service, const HttpRequest& request, ExchangePtr exchange) {
  ReplyFromWorker(service, request, std::move(exchange),
                  [&service](HttpRequest&& copy) { return TemplateResponse(service.session, std::move(copy)); });
}

}  // namespace inkstone

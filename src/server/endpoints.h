// The endpoints that the router knows. Each answers its exchange, now or later, on the event-loop thread.
#pragma once

#include <memory>

#include "chat/chat_template.h"
#include "server/generation_params.h"
#include "server/http_types.h"
#include "server/service.h"

namespace inkstone {

using ExchangePtr = std::shared_ptr<Exchange>;

void HandleChatCompletions(Service& service, const HttpRequest& request, ExchangePtr exchange);
void HandleCompletions(Service& service, const HttpRequest& request, ExchangePtr exchange);

// GET /stream?q=TEXT[&max_new_tokens=N]: the answer as plain server-sent events, then "data: [DONE]".
// POST /generate {"prompt", "max_new_tokens"}: {"text"}. Both put the text into the model's chat template as one user
// turn without thinking when the model has a template, else it's continued as it is.
void HandleStream(Service& service, const HttpRequest& request, ExchangePtr exchange);
void HandleGenerate(Service& service, const HttpRequest& request, ExchangePtr exchange);

void HandleModels(Service& service, const HttpRequest& request, ExchangePtr exchange);
void HandleModel(Service& service, const HttpRequest& request, ExchangePtr exchange);  // /v1/models/{id}
void HandleHealth(Service& service, const HttpRequest& request, ExchangePtr exchange);
void HandleMetrics(Service& service, const HttpRequest& request, ExchangePtr exchange);
void HandleProps(Service& service, const HttpRequest& request, ExchangePtr exchange);
void HandleTokenize(Service& service, const HttpRequest& request, ExchangePtr exchange);
void HandleDetokenize(Service& service, const HttpRequest& request, ExchangePtr exchange);
void HandleApplyTemplate(Service& service, const HttpRequest& request, ExchangePtr exchange);

// Facts that request parsers need, and the model's BOS and EOS texts for its template.
ModelFacts FactsOf(Session& session);
void FillTemplateTokens(const Tokenizer& tokenizer, ChatPrompt* prompt);

}  // namespace inkstone

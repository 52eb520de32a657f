// What every endpoint needs, and the frame of a generation: prepare on a worker, submit, stream, finish.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/session.h"
#include "server/answer_json.h"
#include "server/api_error.h"
#include "server/buffer_budget.h"
#include "server/heavy_lane.h"
#include "server/http_types.h"
#include "server/metrics.h"
#include "server/retry_estimate.h"
#include "server/server.h"

namespace inkstone {

// Lives as long as the server.
struct Service {
  Session& session;
  ServerOptions options;
  std::shared_ptr<Loop> loop;
  Metrics metrics = {};
  RetryEstimate retry = {};
  std::atomic<bool> draining{false};
  std::shared_ptr<BufferBudget> buffers = {};
  HeavyLane heavy = {};  // requests with large bodies
};

// Turns the engine's events into an answer's bytes. Event-loop thread only.
class Responder {
 public:
  virtual ~Responder() = default;
  // Bytes to send first, next, and last when the answer is streamed.
  virtual std::string Head() = 0;
  virtual std::string OnEvent(size_t choice, const GenerationEvent& event) = 0;
  virtual std::string Tail() = 0;
  // The answer in one piece; OnEvent's bytes are then thrown away.
  virtual std::string Body() = 0;
};

struct GenerationPlan {
  std::vector<GenerationRequest> requests;  // one for each choice
  std::unique_ptr<Responder> responder;
  bool stream = false;
  ContextReport context = {};
};
using PlanOrError = std::variant<GenerationPlan, ApiError>;

// Runs `prepare` on a worker with a copy of the request, then the plan on the engine. The engine's requests are
// cancelled when the client goes. `request` lives at least until the exchange is closed.
void StartGeneration(Service& service, const HttpRequest& request, std::shared_ptr<Exchange> exchange,
                     std::function<PlanOrError(HttpRequest&&)> prepare);

// Runs `make` on a worker with a copy of the request and replies with what it returns.
void ReplyFromWorker(Service& service, const HttpRequest& request, std::shared_ptr<Exchange> exchange,
                     std::function<HttpResponse(HttpRequest&&)> make);

// One server-sent event with this data; line breaks inside become several data lines.
std::string SseData(std::string_view data);
// "chatcmpl-" and 24 random letters and digits.
std::string RandomId(std::string_view prefix);
std::string Fingerprint(const Session& session);
// Refused with ContextLengthError when the prompt leaves no room for an answer.
std::optional<ApiError> CheckContext(Session& session, size_t prompt_tokens, const ContextDrop& dropped,
                                     const std::string& param);
// Refused likewise, before it is tokenized, where a text of so many bytes cannot fit the context whatever its tokens.
std::optional<ApiError> CheckTextBytes(Session& session, size_t bytes, const std::string& param);
// Refused where a text of which a policy may drop a part is far longer than what can be kept of it.
std::optional<ApiError> CheckWholeText(Session& session, size_t bytes, const std::string& param);
// ErrorFromStatus, with Retry-After where the client may try again. Event-loop thread only.
ApiError EngineError(Service& service, const Status& status);
// Who sends it, for fairness and whose cached pages it finds: its address, one for each host. Of IPv6 a host has a /64.
std::string OriginOf(const HttpRequest& request);

}  // namespace inkstone

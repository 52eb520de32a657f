#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <chrono>
#include <exception>
#include <random>
#include <stop_token>
#include <type_traits>

#include "core/heap.h"
#include "server/json_writer.h"
#include "server/request_limits.h"
#include "server/service.h"

namespace inkstone {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// One HTTP request's generations. Owned by its exchange's close callback and by nobody once the answer is complete.
class GenerationCall : public std::enable_shared_from_this<GenerationCall> {
 public:
  GenerationCall(Service& service, std::shared_ptr<Exchange> exchange, GenerationPlan plan, Clock::time_point begin)
      : service_(service), exchange_(std::move(exchange)), plan_(std::move(plan)), begin_(begin) {}

  void Start() {
    self_ = shared_from_this();
    exchange_->OnClose([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->Cancel();
    });
    Engine& engine = service_.session.engine();
    remaining_ = plan_.requests.size();
    for (size_t choice = 0; choice < plan_.requests.size(); ++choice) {
      auto id = engine.Submit(std::move(plan_.requests[choice]), MakeSink(choice));
      if (!id.ok()) return Fail(EngineError(service_, id.status()));
      ids_.push_back(*id);
    }
    plan_.requests.clear();
    if (plan_.context.dropped.any()) ReportDrop();
    if (plan_.stream) {
      streaming_ = true;
      exchange_->StartStream({.content_type = "text/event-stream; charset=utf-8",
                              .body = "",
                              .headers = {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}}});
      exchange_->Write(plan_.responder->Head());
    }
  }

 private:
  EventSink MakeSink(size_t choice) {
    return [loop = service_.loop, weak = weak_from_this(), choice](GenerationEvent&& event) {
      loop->Post([weak, choice, moved = std::make_shared<GenerationEvent>(std::move(event))] {
        if (auto self = weak.lock()) self->Guarded(choice, *moved);
      });
    };
  }

  // Before the head of the answer.
  void ReportDrop() {
    const auto& [messages, tokens] = plan_.context.dropped;
    exchange_->AddHeader("X-Inkstone-Context-Dropped",
                         "messages=" + std::to_string(messages) + "; tokens=" + std::to_string(tokens));
    service_.metrics.OnContextDrop(messages, tokens);
    if (auto& log = service_.options.logger) {
      log->info("context policy {}: {} older messages, {} tokens left out", plan_.context.policy.Name(), messages,
                tokens);
    }
  }

  void Guarded(size_t choice, const GenerationEvent& event) {
    try {
      OnEvent(choice, event);
    } catch (const std::exception& error) {
      Fail(InternalError(std::string("answering failed: ") + error.what()));
    }
  }

  void OnEvent(size_t choice, const GenerationEvent& event) {
    if (exchange_->closed() || remaining_ == 0) return;
    if (event.finish && event.usage.generated_tokens > 0) service_.retry.OnFinished(service_.session.engine().stats());
    if (!Account(event)) {
      return Fail({.status = 503,
                   .message = "too many large answers at once; ask for fewer logprobs, a shorter answer or a stream",
                   .type = "server_error",
                   .code = "memory_pressure",
                   .retry_after = service_.retry.Seconds(service_.session.engine().stats())});
    }
    if (event.finish == FinishReason::kError) return Fail(EngineError(service_, event.status));
    if (event.finish == FinishReason::kCancelled) {
      return Fail(EngineError(service_, Cancelled("the engine stopped before the answer was complete; ask again")));
    }
    RecordTimes(event);
    const std::string bytes = plan_.responder->OnEvent(choice, event);
    if (streaming_ && !bytes.empty()) exchange_->Write(bytes);
    if (event.finish && --remaining_ == 0) Complete();
  }

  // An answer in one piece is kept until its end: its text and the JSON around it, and about a hundred bytes for the
  // logprob of each token.
  bool Account(const GenerationEvent& event) {
    if (streaming_) return true;
    size_t bytes = 3 * event.text.size();
    for (const GeneratedToken& token : event.tokens) bytes += 32 + 100 * token.top.size();
    return held_.Resize(held_.bytes() + bytes);
  }

  void RecordTimes(const GenerationEvent& event) {
    if (event.tokens.empty()) return;
    if (!seen_token_) {
      service_.metrics.OnFirstToken(SecondsSince(begin_));
    } else {
      service_.metrics.OnToken(SecondsSince(last_token_) / static_cast<double>(event.tokens.size()));
    }
    seen_token_ = true;
    last_token_ = Clock::now();
  }

  void Complete() {
    if (streaming_) {
      exchange_->Write(plan_.responder->Tail());
      exchange_->Finish();
    } else {
      exchange_->Reply({.body = plan_.responder->Body()});
    }
    self_.reset();
  }

  void Fail(const ApiError& error) {
    const auto keep = shared_from_this();
    CancelAll();
    remaining_ = 0;
    if (streaming_) {
      exchange_->Write(SseData(ErrorJson(error)) + SseData("[DONE]"));
      exchange_->Finish();
    } else {
      exchange_->Reply(ErrorResponse(error));
    }
    self_.reset();
  }

  void Cancel() {
    const auto keep = shared_from_this();
    CancelAll();
    remaining_ = 0;
    self_.reset();
  }

  void CancelAll() {
    for (const RequestId id : ids_) service_.session.engine().Cancel(id);
  }

  Service& service_;
  std::shared_ptr<Exchange> exchange_;
  GenerationPlan plan_;
  const Clock::time_point begin_;
  Clock::time_point last_token_;
  bool seen_token_ = false;
  bool streaming_ = false;
  std::vector<RequestId> ids_;
  BufferShare held_{service_.buffers};    // of an answer in one piece
  size_t remaining_ = 0;                  // choices without a last event
  std::shared_ptr<GenerationCall> self_;  // until the answer is complete or cancelled
};

// Of text. Composing characters (NFC) makes three bytes of nine at most.
size_t MostTokenBytes(Session& session) {
  constexpr size_t kComposed = 3;
  return kComposed * std::max<size_t>(session.tokenizer().longest_token(), 1);
}

// Runs `work` on a worker and gives its result to `then` on the event loop. Nothing on the worker outlives the
// hand-over: an exchange belongs to the loop, its end too. Large requests are copied and worked on one at a time.
template <typename Work, typename Then>
void WorkThen(Service& service, const HttpRequest& request, std::shared_ptr<Exchange> exchange, Work work, Then then) {
  const bool heavy = request.body.size() >= kHeavyBody;
  auto begin = [&service, &request, heavy, exchange = std::move(exchange), work, then]() mutable {
    if (exchange->closed()) {  // and the request gone with it
      if (heavy) service.heavy.Leave();
      return;
    }
    std::stop_source source;
    exchange->OnClose([source]() mutable { source.request_stop(); });  // until the generation has its own
    service.loop->Offload([&service, heavy, exchange = std::move(exchange), work, then, copy = request,
                           stop = source.get_token()]() mutable {
      copy.stop = stop;
      auto result = std::make_shared<std::invoke_result_t<Work, HttpRequest&&>>(work(std::move(copy)));
      if (heavy) ReturnFreeMemory();
      service.loop->Post([&service, heavy, exchange = std::move(exchange), result = std::move(result), then]() mutable {
        exchange->ReleaseBody();
        if (heavy) service.heavy.Leave();
        then(std::move(exchange), std::move(*result));
      });
    });
  };
  if (!heavy) return begin();
  service.heavy.Enter(std::move(begin));
}

}  // namespace

void StartGeneration(Service& service, const HttpRequest& request, std::shared_ptr<Exchange> exchange,
                     std::function<PlanOrError(HttpRequest&&)> prepare) {
  if (service.draining) {
    return exchange->Reply(ErrorResponse(EngineError(service, Unavailable("the server is shutting down"))));
  }
  const auto guarded = [prepare = std::move(prepare)](HttpRequest&& copy) -> PlanOrError {
    try {
      return prepare(std::move(copy));
    } catch (const std::exception& error) {
      return InternalError(std::string("reading the request failed: ") + error.what());
    }
  };
  const auto start = [&service, begin = Clock::now()](std::shared_ptr<Exchange> answer, PlanOrError outcome) {
    if (answer->closed()) return;
    if (const auto* error = std::get_if<ApiError>(&outcome)) return answer->Reply(ErrorResponse(*error));
    auto& plan = std::get<GenerationPlan>(outcome);
    std::make_shared<GenerationCall>(service, std::move(answer), std::move(plan), begin)->Start();
  };
  WorkThen(service, request, std::move(exchange), guarded, start);
}

void ReplyFromWorker(Service& service, const HttpRequest& request, std::shared_ptr<Exchange> exchange,
                     std::function<HttpResponse(HttpRequest&&)> make) {
  const auto guarded = [make = std::move(make)](HttpRequest&& copy) {
    try {
      return make(std::move(copy));
    } catch (const std::exception& error) {
      return ErrorResponse(InternalError(error.what()));
    }
  };
  const auto reply = [](const std::shared_ptr<Exchange>& answer, HttpResponse response) {
    answer->Reply(std::move(response));
  };
  WorkThen(service, request, std::move(exchange), guarded, reply);
}

std::string SseData(std::string_view data) {
  std::string out;
  out.reserve(data.size() + 8);
  while (true) {
    const size_t end = data.find_first_of("\r\n");
    out.append("data: ").append(data.substr(0, end)).push_back('\n');
    if (end == std::string_view::npos) break;
    data.remove_prefix(end + (data.substr(end).starts_with("\r\n") ? 2 : 1));
  }
  out.push_back('\n');
  return out;
}

std::string RandomId(std::string_view prefix) {
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device random;
  std::uniform_int_distribution<size_t> letter(0, kAlphabet.size() - 1);
  std::string id(prefix);
  for (int i = 0; i < 24; ++i) id.push_back(kAlphabet[letter(random)]);
  return id;
}

std::string Fingerprint(const Session& session) {
  return std::string("inkstone-") + INKSTONE_VERSION + "-" + session.info().backend;
}

std::optional<ApiError> CheckContext(Session& session, size_t prompt_tokens, const ContextDrop& dropped,
                                     const std::string& param) {
  const int64_t context = session.engine().options().context;
  const auto tokens = static_cast<int64_t>(prompt_tokens);
  if (tokens < context) return std::nullopt;
  return ContextLengthError(tokens, context, dropped.messages, param);
}

std::optional<ApiError> CheckTextBytes(Session& session, size_t bytes, const std::string& param) {
  const int64_t context = session.engine().options().context;
  const auto least = static_cast<int64_t>(bytes / MostTokenBytes(session));
  if (least < context) return std::nullopt;
  return ContextLengthError(least, context, 0, param, PromptCount::kAtLeast);
}

std::optional<ApiError> CheckWholeText(Session& session, size_t bytes, const std::string& param) {
  const size_t fits = static_cast<size_t>(session.engine().options().context) * MostTokenBytes(session);
  const size_t most = std::max(kMaxTokenizeBytes, fits);
  if (bytes <= most) return std::nullopt;
  return ApiError{.message = "'" + param + "': expected at most " + std::to_string(most) +
                             " bytes of text in all, of which the newest part is kept, found " + std::to_string(bytes),
                  .param = param,
                  .code = "request_limit"};
}

ApiError EngineError(Service& service, const Status& status) {
  ApiError error = ErrorFromStatus(status);
  if (error.status == 429 || error.status == 503) {
    error.retry_after = service.retry.Seconds(service.session.engine().stats());
  }
  return error;
}

std::string OriginOf(const HttpRequest& request) {
  boost::system::error_code error;
  auto address = boost::asio::ip::make_address(request.address, error);
  if (error) return "address:" + request.address;
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, address.to_v6());
  }
  if (address.is_v4()) return "address:" + address.to_string();
  if (address.is_loopback()) return "address:" + boost::asio::ip::address_v4::loopback().to_string();
  auto bytes = address.to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), 0);
  // Of a link-local one the scope says which network.
  const boost::asio::ip::address_v6 network(bytes, address.to_v6().scope_id());
  return "address:" + network.to_string() + "/64";
}

}  // namespace inkstone

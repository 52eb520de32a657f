#include "server/router.h"

#include <array>
#include <exception>
#include <new>
#include <optional>

#include "server/assets.h"
#include "server/endpoints.h"

namespace inkstone {
namespace {

struct Endpoint {
  std::string_view method;
  std::string_view path;  // one that ends in '/' takes everything below it
  void (*handle)(Service&, const HttpRequest&, ExchangePtr);
  std::string_view name;  // for metrics
};

constexpr std::array kEndpoints = {
    Endpoint{"POST", "/v1/chat/completions", HandleChatCompletions, "/v1/chat/completions"},
    Endpoint{"POST", "/v1/completions", HandleCompletions, "/v1/completions"},
    Endpoint{"GET", "/stream", HandleStream, "/stream"},
    Endpoint{"POST", "/generate", HandleGenerate, "/generate"},
    Endpoint{"GET", "/v1/models", HandleModels, "/v1/models"},
    Endpoint{"GET", "/v1/models/", HandleModel, "/v1/models/{id}"},
    Endpoint{"GET", "/health", HandleHealth, "/health"},
    Endpoint{"GET", "/v1/health", HandleHealth, "/health"},
    Endpoint{"GET", "/metrics", HandleMetrics, "/metrics"},
    Endpoint{"GET", "/props", HandleProps, "/props"},
    Endpoint{"POST", "/tokenize", HandleTokenize, "/tokenize"},
    Endpoint{"POST", "/detokenize", HandleDetokenize, "/detokenize"},
    Endpoint{"POST", "/apply-template", HandleApplyTemplate, "/apply-template"},
};

const Endpoint* FindEndpoint(std::string_view path) {
  for (const Endpoint& endpoint : kEndpoints) {
    const bool below = endpoint.path.ends_with('/') && path.size() > endpoint.path.size();
    if (path == endpoint.path || (below && path.starts_with(endpoint.path))) return &endpoint;
  }
  return nullptr;
}

bool IsRead(const HttpRequest& request) { return request.method == "GET" || request.method == "HEAD"; }

HttpResponse NotAllowed(const HttpRequest& request, std::string_view allowed) {
  HttpResponse response =
      ErrorResponse({.status = 405,
                     .message = request.path + " answers " + std::string(allowed) + ", not " + request.method,
                     .code = "method_not_allowed"});
  response.headers.emplace_back("Allow", std::string(allowed));
  return response;
}

HttpResponse Refusal(const AccessError& refused) {
  return ErrorResponse({.status = refused.status, .message = refused.message, .code = "access_denied"});
}

// Of an endpoint that does work.
std::optional<AccessError> CheckWork(const Endpoint& endpoint, const HttpRequest& request, const AccessRules& rules) {
  if (endpoint.method == "POST") {
    if (auto refused = CheckContentType(request)) return refused;
  }
  if (endpoint.method == "POST" || endpoint.handle == HandleStream) return CheckSameSite(request, rules);
  return std::nullopt;
}

void Dispatch(Service& service, const AccessRules& rules, const HttpRequest& request, const ExchangePtr& exchange) {
  const Endpoint* endpoint = FindEndpoint(request.path);
  if (request.method == "OPTIONS") {
    return exchange->Reply({.status = 204, .content_type = "", .body = "", .headers = PreflightHeaders(request)});
  }
  if (endpoint != nullptr) {
    const bool get = endpoint->method == "GET";
    // HEAD of an endpoint that generates would do the work and throw it away.
    const bool head = request.method == "HEAD" && get && endpoint->handle != HandleStream;
    if (request.method == endpoint->method || head) {
      if (const auto refused = CheckWork(*endpoint, request, rules)) return exchange->Reply(Refusal(*refused));
      return endpoint->handle(service, request, exchange);
    }
    return exchange->Reply(NotAllowed(request, get ? "GET, HEAD, OPTIONS" : "POST, OPTIONS"));
  }
  if (const auto asset = service.options.assets ? service.options.assets(request.path) : std::nullopt) {
    if (!IsRead(request)) return exchange->Reply(NotAllowed(request, "GET, HEAD, OPTIONS"));
    return exchange->Reply(AssetResponse(request, *asset));
  }
  exchange->Reply(ErrorResponse({.status = 404,
                                 .message = "There is nothing at " + request.path + "; the API is below /v1",
                                 .code = "not_found"}));
}

}  // namespace

bool ParseTarget(std::string_view target, HttpRequest* request) {
  if (target.starts_with("http://")) {  // absolute form, as proxies send it
    const size_t slash = target.find_first_of("/?#", 7);
    request->authority = target.substr(7, slash == std::string_view::npos ? slash : slash - 7);
    if (request->authority.empty()) return false;
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  if (target == "*") target = "/";  // OPTIONS *
  if (!target.starts_with('/')) return false;
  target = target.substr(0, target.find('#'));
  const size_t question = target.find('?');
  request->path = PercentDecode(target.substr(0, question), false);
  request->query = question == std::string_view::npos ? std::string() : std::string(target.substr(question + 1));
  return true;
}

void Route(Service& service, const AccessRules& rules, const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
  try {
    if (const auto refused = CheckAccess(request, rules)) {
      return exchange->Reply(Refusal(*refused));
    }
    for (auto& [name, value] : CorsHeaders(request)) exchange->AddHeader(name, value);
    Dispatch(service, rules, request, exchange);
  } catch (const std::bad_alloc&) {
    exchange->Reply(ErrorResponse({.status = 503,
                                   .message = "there is no memory for this request; try again later",
                                   .type = "server_error",
                                   .code = "memory_pressure",
                                   .retry_after = 2}));
  } catch (const std::exception& error) {
    exchange->Reply(ErrorResponse(InternalError(std::string("handling the request failed: ") + error.what())));
  }
}

std::string_view RouteName(const HttpRequest& request) {
  if (const Endpoint* endpoint = FindEndpoint(request.path)) return endpoint->name;
  return request.path == "/" || request.path.starts_with("/assets/") ? "page" : "other";
}

}  // namespace inkstone

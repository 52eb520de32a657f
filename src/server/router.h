// From a request to its endpoint.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "server/access.h"
#include "server/http_types.h"
#include "server/service.h"

namespace inkstone {

// Splits a request target into path and query: "/a%20b?x=1". False when it isn't an absolute path.
bool ParseTarget(std::string_view target, HttpRequest* request);

// Answers every request, also those that nobody expects; no exception gets out.
void Route(Service& service, const AccessRules& rules, const HttpRequest& request, std::shared_ptr<Exchange> exchange);

// The route's name for metrics: a known path, "/v1/models/{id}", "page" or "unknown".
std::string_view RouteName(const HttpRequest& request);

}  // namespace inkstone

// Who may talk to the server from a browser: the Host check against DNS rebinding, and CORS.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_types.h"

namespace inkstone {

struct AccessRules {
  std::vector<std::string> allowed_hosts;    // names of this server beside localhost and addresses
  std::vector<std::string> allowed_origins;  // further origins, or "*"
};

// A reason to refuse the request, or nothing.
struct AccessError {
  int status = 403;
  std::string message;
};
std::optional<AccessError> CheckAccess(const HttpRequest& request, const AccessRules& rules);

// The same for requests that cost work: a page of somebody else can have a browser send them without reading the
// answer, and without an Origin header.
std::optional<AccessError> CheckSameSite(const HttpRequest& request, const AccessRules& rules);
// A body must be declared as JSON, which a browser sends for nobody but this server's own pages without asking first.
// 415.
std::optional<AccessError> CheckContentType(const HttpRequest& request);

// Headers that let the allowed origin read the answer; empty without an Origin.
HeaderList CorsHeaders(const HttpRequest& request);
// Headers of a preflight's 204.
HeaderList PreflightHeaders(const HttpRequest& request);

}  // namespace inkstone

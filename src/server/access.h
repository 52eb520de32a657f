// Who may talk to the server from a browser: the Host check against DNS rebinding, and CORS.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_types.h"

namespace inkstone {

struct AccessRules {
  bool loopback = true;                      // bound to a loopback address: Host must name this computer
  std::vector<std::string> allowed_hosts;    // further names
  std::vector<std::string> allowed_origins;  // further origins, or "*"
};

// A reason to refuse the request (403, or 400 without Host), or nothing.
struct AccessError {
  int status = 403;
  std::string message;
};
std::optional<AccessError> CheckAccess(const HttpRequest& request, const AccessRules& rules);

// Headers that let the allowed origin read the answer; empty without an Origin.
HeaderList CorsHeaders(const HttpRequest& request);
// Headers of a preflight's 204.
HeaderList PreflightHeaders(const HttpRequest& request);

// "localhost" of "localhost:8080", "::1" of "[::1]:8080".
std::string_view HostName(std::string_view authority);

}  // namespace inkstone

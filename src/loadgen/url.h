// Where a server listens.
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"
#include "loadgen/load_options.h"

namespace inkstone {

struct ServerUrl {
  std::string host;       // a name or an address, IPv6 without brackets
  std::string port;       // a number from 1 to 65535
  std::string authority;  // as the Host field wants it
  std::string path;       // "" or "/prefix", without a slash at its end
};

// http://HOST[:PORT][/PATH]. kUnimplemented for https, kInvalidArgument for anything else.
Result<ServerUrl> ParseServerUrl(std::string_view url);

// The target of a request: /v1 is added unless the path ends with it.
std::string TargetOf(const ServerUrl& url, Endpoint endpoint);

}  // namespace inkstone

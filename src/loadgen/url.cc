#include "loadgen/url.h"

#include <algorithm>
#include <charconv>

namespace inkstone {

Result<ServerUrl> ParseServerUrl(std::string_view url) {
  const auto fail = [&](const char* problem) {
    return InvalidArgument("expected a URL such as http://127.0.0.1:8080, found '" + std::string(url) +
                           "': " + problem);
  };
  if (url.starts_with("https://")) {
    return Unimplemented("'" + std::string(url) +
                         "': https is not supported; measure the server behind its TLS proxy over http://");
  }
  std::string_view rest = url;
  if (!rest.starts_with("http://")) return fail("it must begin with http://");
  rest.remove_prefix(7);
  const bool odd = std::any_of(rest.begin(), rest.end(), [](char c) { return c <= ' ' || c >= 0x7f; });
  if (odd || rest.find_first_of("?#@") != std::string_view::npos)
    return fail("host, port and path are all it may have");

  ServerUrl out;
  const size_t slash = std::min(rest.find('/'), rest.size());
  out.authority = rest.substr(0, slash);
  out.path = rest.substr(slash);
  while (out.path.ends_with('/')) out.path.pop_back();

  std::string_view host = out.authority;
  std::string_view port = "80";
  const size_t bracket = host.rfind(']');
  const size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  if (host.starts_with('[')) {
    if (!host.ends_with(']')) return fail("an IPv6 address stands in brackets");
    host = host.substr(1, host.size() - 2);
  }
  if (host.empty()) return fail("the host is missing");
  int number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number < 1 || number > 65535) {
    return fail("the port must be a number from 1 to 65535");
  }
  out.host = host;
  out.port = port;
  return out;
}

std::string TargetOf(const ServerUrl& url, Endpoint endpoint) {
  const std::string base = url.path.ends_with("/v1") ? url.path : url.path + "/v1";
  return base + (endpoint == Endpoint::kChat ? "/chat/completions" : "/completions");
}

}  // namespace inkstone

#include "server/access.h"

#include <algorithm>
#include <cctype>

namespace inkstone {
namespace {

bool SameText(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

bool IsIpv4Loopback(std::string_view host) {
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos;
}

bool IsLocalName(std::string_view host) {
  return SameText(host, "localhost") || IsIpv4Loopback(host) || host == "::1" ||
         (host.size() > 10 && SameText(host.substr(host.size() - 10), ".localhost"));
}

// "host:port" of "http://host:port"; empty for opaque origins such as "null".
std::string_view Authority(std::string_view origin) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (origin.starts_with(scheme)) return origin.substr(scheme.size());
  }
  return {};
}

bool OriginAllowed(std::string_view origin, std::string_view host, const AccessRules& rules) {
  const std::string_view authority = Authority(origin);
  if (!authority.empty() && (SameText(authority, host) || IsLocalName(HostName(authority)))) return true;
  return std::any_of(rules.allowed_origins.begin(), rules.allowed_origins.end(),
                     [&](const std::string& allowed) { return allowed == "*" || SameText(allowed, origin); });
}

}  // namespace

std::string_view HostName(std::string_view authority) {
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    return end == std::string_view::npos ? std::string_view() : authority.substr(1, end - 1);
  }
  return authority.substr(0, authority.find(':'));
}

std::optional<AccessError> CheckAccess(const HttpRequest& request, const AccessRules& rules) {
  const std::string_view host = request.Header("host");
  if (host.empty() && request.minor >= 1) return AccessError{400, "HTTP/1.1 requests need a Host header"};
  if (rules.loopback && !host.empty() && !IsLocalName(HostName(host)) &&
      std::none_of(rules.allowed_hosts.begin(), rules.allowed_hosts.end(),
                   [&](const std::string& allowed) { return SameText(allowed, HostName(host)); })) {
    return AccessError{403, "The Host header must name this computer (localhost), found \"" + std::string(host) +
                                "\"; allow further names when starting the server"};
  }
  const std::string_view origin = request.Header("origin");
  if (!origin.empty() && !OriginAllowed(origin, host, rules)) {
    return AccessError{403, "Pages of \"" + std::string(origin) +
                                "\" may not use this server; allow the origin when starting the server"};
  }
  return std::nullopt;
}

HeaderList CorsHeaders(const HttpRequest& request) {
  const std::string_view origin = request.Header("origin");
  if (origin.empty()) return {};
  return {{"Access-Control-Allow-Origin", std::string(origin)},
          {"Access-Control-Expose-Headers", "Retry-After, X-Inkstone-Context-Dropped"},
          {"Vary", "Origin"}};
}

HeaderList PreflightHeaders(const HttpRequest& request) {
  std::string headers(request.Header("access-control-request-headers"));
  if (headers.empty()) headers = "authorization, content-type";
  return {{"Access-Control-Allow-Methods", "GET, POST, HEAD, OPTIONS"},
          {"Access-Control-Allow-Headers", headers},
          {"Access-Control-Max-Age", "86400"}};
}

}  // namespace inkstone

#include "server/access.h"

#include <arpa/inet.h>

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

// A name that ends in a dot is the same one.
std::string_view WithoutDot(std::string_view host) {
  if (host.size() > 1 && host.ends_with('.')) host.remove_suffix(1);
  return host;
}

bool IsLocalName(std::string_view host) {
  host = WithoutDot(host);
  return SameText(host, "localhost") || IsIpv4Loopback(host) || host == "::1" ||
         (host.size() > 10 && SameText(host.substr(host.size() - 10), ".localhost"));
}

// An address can't be made to mean another computer, as names can.
bool IsAddress(std::string_view host) {
  const std::string text(host.substr(0, host.find('%')));
  in6_addr address{};
  return inet_pton(AF_INET, text.c_str(), &address) == 1 || inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

bool HostAllowed(std::string_view authority, const AccessRules& rules) {
  const std::string_view host = WithoutDot(HostName(authority));
  return IsLocalName(host) || IsAddress(host) ||
         std::any_of(rules.allowed_hosts.begin(), rules.allowed_hosts.end(),
                     [&](const std::string& allowed) { return SameText(allowed, host); });
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

std::optional<AccessError> CheckAccess(const HttpRequest& request, const AccessRules& rules) {
  const std::string_view host = request.authority.empty() ? request.Header("host") : request.authority;
  for (const std::string_view name : {request.Header("host"), host}) {
    if (name.empty() || HostAllowed(name, rules)) continue;
    return AccessError{403, "The Host header must be an address or name this computer (localhost), found \"" +
                                std::string(name) + "\"; allow further names when starting the server (--allow-host)"};
  }
  const std::string_view origin = request.Header("origin");
  if (!origin.empty() && !OriginAllowed(origin, host, rules)) {
    return AccessError{403, "Pages of \"" + std::string(origin) +
                                "\" may not use this server; allow the origin when starting the server"};
  }
  return std::nullopt;
}

std::optional<AccessError> CheckSameSite(const HttpRequest& request, const AccessRules& rules) {
  if (!request.Header("origin").empty()) return std::nullopt;  // CheckAccess has looked at it
  const std::string_view site = request.Header("sec-fetch-site");
  std::string_view referer = request.Header("referer");
  const size_t path = referer.find('/', referer.find("://") == std::string_view::npos ? 0 : referer.find("://") + 3);
  referer = referer.substr(0, path);
  const bool foreign_page = !referer.empty() && !OriginAllowed(referer, request.Header("host"), rules);
  if ((site.empty() || site == "same-origin" || site == "none") && !foreign_page) return std::nullopt;
  return AccessError{403, "Pages of other sites may not ask this server for work"};
}

std::optional<AccessError> CheckContentType(const HttpRequest& request) {
  const std::string_view site = request.Header("sec-fetch-site");
  const std::string_view origin = request.Header("origin");
  if (site == "same-origin" || (!origin.empty() && SameText(Authority(origin), request.Header("host")))) {
    return std::nullopt;
  }
  std::string_view type = request.Header("content-type");
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ') || type.ends_with('\t')) type.remove_suffix(1);
  // Programs that say nothing are no browsers: those say where a request comes from.
  if (type.empty() && origin.empty() && site.empty()) return std::nullopt;
  if (SameText(type, "application/json") || (type.size() > 5 && SameText(type.substr(type.size() - 5), "+json"))) {
    return std::nullopt;
  }
  return AccessError{415, "Content-Type: expected application/json, found \"" + std::string(type) +
                              "\"; with curl, add -H 'Content-Type: application/json'"};
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

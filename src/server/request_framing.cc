#include "server/request_framing.h"

#include <algorithm>
#include <cctype>

namespace inkstone {
namespace {

size_t Count(const HttpRequest& request, std::string_view name) {
  return static_cast<size_t>(
      std::count_if(request.headers.begin(), request.headers.end(), [&](const auto& h) { return h.first == name; }));
}

bool IsChunked(std::string_view value) {
  constexpr std::string_view kChunked = "chunked";
  return std::equal(value.begin(), value.end(), kChunked.begin(), kChunked.end(),
                    [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; });
}

std::optional<FramingError> CheckTransferEncoding(const HttpRequest& request) {
  const size_t count = Count(request, "transfer-encoding");
  if (count == 0) return std::nullopt;
  if (request.minor == 0) return FramingError{400, "Transfer-Encoding is not part of HTTP/1.0; send Content-Length"};
  if (Count(request, "content-length") > 0) {
    return FramingError{400, "the request has both Transfer-Encoding and Content-Length; send one of them"};
  }
  const std::string_view value = request.Header("transfer-encoding");
  if (count == 1 && IsChunked(value)) return std::nullopt;
  return FramingError{501, "Transfer-Encoding: only \"chunked\", once, is understood, found \"" + std::string(value) +
                               "\"" + (count > 1 ? " and others" : "")};
}

std::optional<FramingError> CheckHost(const HttpRequest& request) {
  if (Count(request, "host") > 1) return FramingError{400, "the request has more than one Host header"};
  if (request.Header("host").empty() && request.minor >= 1) {
    return FramingError{400, "HTTP/1.1 requests need a Host header"};
  }
  for (const std::string_view authority : {request.Header("host"), std::string_view(request.authority)}) {
    if (authority.empty() || IsAuthority(authority)) continue;
    return FramingError{
        400, "Host: expected a name or address and perhaps a port, found \"" + std::string(authority) + "\""};
  }
  return std::nullopt;
}

}  // namespace

bool HasFoldedLine(std::string_view head) {
  return head.find("\r\n ") != std::string_view::npos || head.find("\r\n\t") != std::string_view::npos;
}

std::optional<FramingError> CheckFraming(const HttpRequest& request) {
  if (auto error = CheckTransferEncoding(request)) return error;
  return CheckHost(request);
}

}  // namespace inkstone

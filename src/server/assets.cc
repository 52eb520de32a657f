#include "server/assets.h"

#include "server/embedded_assets.h"

namespace inkstone {
namespace {

constexpr std::string_view kNotice =
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Inkstone</title>\n"
    "<style>body{font:1rem/1.6 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem}</style>\n"
    "<h1>Inkstone is running</h1>\n"
    "<p>The API answers at <code>/v1</code>. This program was built without the chat page.</p>\n"
    "<p>To add it, run <code>npm ci &amp;&amp; npm run build</code> in the folder <code>web</code> "
    "and build the program again.</p>\n</html>\n";

// Scripts only from this server; inline styles are what the formula renderer needs.
constexpr std::string_view kPolicy =
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'";

}  // namespace

AssetProvider EmbeddedAssets() {
  return [](std::string_view path) -> std::optional<Asset> {
    const std::string_view wanted = path == "/" ? "/index.html" : path;
    for (const EmbeddedAsset& entry : EmbeddedAssetTable()) {
      if (entry.path == wanted) return entry.asset;
    }
    if (wanted == "/index.html") {
      return Asset{.content_type = "text/html; charset=utf-8", .bytes = kNotice, .gzip = {}, .etag = "notice"};
    }
    return std::nullopt;
  };
}

HttpResponse AssetResponse(const HttpRequest& request, const Asset& asset) {
  HttpResponse response;
  const bool gzip = !asset.gzip.empty() && request.Header("accept-encoding").find("gzip") != std::string_view::npos;
  // The two encodings are two representations: each has its own strong tag.
  const std::string tag = "\"" + std::string(asset.etag) + (gzip ? "-gz" : "") + "\"";
  response.content_type = asset.content_type;
  response.headers = {{"ETag", tag},
                      {"Cache-Control", asset.immutable ? "public, max-age=31536000, immutable" : "no-cache"},
                      {"Vary", "Accept-Encoding"},
                      {"Content-Security-Policy", std::string(kPolicy)},
                      {"Referrer-Policy", "no-referrer"}};
  if (request.Header("if-none-match").find(tag) != std::string_view::npos) {
    response.status = 304;
    return response;
  }
  if (gzip) response.headers.emplace_back("Content-Encoding", "gzip");
  response.body = gzip ? asset.gzip : asset.bytes;
  return response;
}

}  // namespace inkstone

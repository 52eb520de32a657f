// Files of the page: where they come from and how they're answered.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "server/http_types.h"

namespace inkstone {

// Bytes are borrowed and live as long as the provider.
struct Asset {
  std::string_view content_type;
  std::string_view bytes;
  std::string_view gzip;   // the same, compressed; may be empty
  std::string_view etag;   // a hash of the bytes
  bool immutable = false;  // its name holds a hash of its content
};

// Path as in the URL, "/assets/index.js"; "/" is the page.
using AssetProvider = std::function<std::optional<Asset>(std::string_view path)>;

// The page built into this program; a short notice at "/" when it was built without one.
AssetProvider EmbeddedAssets();

// 200 with the file, or 304 when the client has it.
HttpResponse AssetResponse(const HttpRequest& request, const Asset& asset);

}  // namespace inkstone

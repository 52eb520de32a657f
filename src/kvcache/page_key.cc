#include "kvcache/page_key.h"

#include <openssl/sha.h>

#include <algorithm>
#include <cstring>

namespace inkstone {

PageKey RootKey(std::string_view identity) {
  PageKey key;
  SHA256(reinterpret_cast<const unsigned char*>(identity.data()), identity.size(), key.bytes.data());
  return key;
}

PageKey ChildKey(const PageKey& parent, std::span<const int32_t> tokens, const PageKey& domain) {
  std::array<unsigned char, 512> text;  // at most 64 tokens at a time
  PageKey key = parent;
  if (domain != PageKey()) {
    std::copy(key.bytes.begin(), key.bytes.end(), text.begin());
    std::copy(domain.bytes.begin(), domain.bytes.end(), text.begin() + key.bytes.size());
    SHA256(text.data(), key.bytes.size() + domain.bytes.size(), key.bytes.data());
  }
  for (size_t begin = 0; begin < tokens.size(); begin += 64) {
    const auto some = tokens.subspan(begin, std::min<size_t>(64, tokens.size() - begin));
    std::copy(key.bytes.begin(), key.bytes.end(), text.begin());
    std::memcpy(text.data() + key.bytes.size(), some.data(), some.size_bytes());
    SHA256(text.data(), key.bytes.size() + some.size_bytes(), key.bytes.data());
  }
  return key;
}

}  // namespace inkstone

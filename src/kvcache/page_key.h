// The identity of a page of keys and values: a SHA-256 chain over everything that shapes its numbers.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <string_view>

namespace inkstone {

struct PageKey {
  std::array<uint8_t, 32> bytes{};
  auto operator<=>(const PageKey&) const = default;
};

// Of no page yet. `identity` names weights, tokenizer, type and layout of the cache, positions and the kernels.
PageKey RootKey(std::string_view identity);
// Of the page that follows `parent`, holds `tokens` and is `domain`'s; zeros: everybody's.
PageKey ChildKey(const PageKey& parent, std::span<const int32_t> tokens, const PageKey& domain = {});

}  // namespace inkstone

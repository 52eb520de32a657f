// A fast 64-bit checksum for files of our own: finds accidents, not attacks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace inkstone {

// Every change within one aligned 8-byte word changes the result: each step is a bijection of the state.
inline uint64_t Hash64(std::span<const std::byte> bytes, uint64_t seed) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15u;
  uint64_t hash = seed ^ (bytes.size() * kMultiplier);
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 32;
  };
  for (; bytes.size() >= sizeof(uint64_t); bytes = bytes.subspan(sizeof(uint64_t))) {
    uint64_t word;
    std::memcpy(&word, bytes.data(), sizeof(word));
    mix(word);
  }
  uint64_t rest = 0;
  if (!bytes.empty()) std::memcpy(&rest, bytes.data(), bytes.size());
  mix(rest);
  return hash;
}

}  // namespace inkstone

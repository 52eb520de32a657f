// Whose pages of the prefix cache a request's are (CacheDomain): by default its client's own, and those of a system
// text, once several clients have come with it, everybody's who comes with exactly the same.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "kvcache/page_key.h"
#include "kvcache/prefix_cache.h"

namespace inkstone {

// Who finds what others' requests computed.
enum class PrefixShare : uint8_t {
  kAll,     // everybody
  kSystem,  // whoever comes with a system text that several clients have come with; else nobody
  kClient,  // nobody
};

// Which texts several users came with. Bounded: what was not seen for longest is forgotten.
class TextUsers {
 public:
  static constexpr size_t kSeveral = 3;
  static constexpr size_t kMostTexts = 1024;  // with fewer users, and as many with several

  // A user comes with the text. Whether several have.
  bool Note(const PageKey& text, const PageKey& user);

 private:
  struct Entry {
    std::vector<PageKey> users;  // at most kSeveral
    uint64_t seen = 0;
  };
  using Entries = std::map<PageKey, Entry>;
  static void DropOldest(Entries* entries);

  Entries few_, several_;  // apart, so that texts of one user do not drive out what several share
  uint64_t time_ = 0;
};

class CacheDomains {
 public:
  CacheDomains(PrefixShare share, int64_t page_tokens) : share_(share), page_tokens_(page_tokens) {}

  // Of a request with this prompt, of which the first shared_tokens are a system text. Clients of one origin share a
  // text that several of them came with; across origins, it takes several origins: names of clients cost nothing.
  CacheDomain Of(const std::string& origin, const std::string& client, std::span<const int32_t> prompt,
                 int64_t shared_tokens);

 private:
  const PrefixShare share_;
  const int64_t page_tokens_;
  TextUsers users_;
};

// How many of two prompts' first tokens are the same and lie in pages that both may use.
int64_t CommonTokens(std::span<const int32_t> a, const CacheDomain& of_a, std::span<const int32_t> b,
                     const CacheDomain& of_b, int64_t page_tokens);

}  // namespace inkstone

#include "engine/cache_domains.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace inkstone {
namespace {

// Of a text in words of different kinds: no two lists of words give the same.
PageKey KeyOf(std::string_view kind, std::string_view first, std::string_view second = {}) {
  std::string text(kind);
  text.append(" ").append(std::to_string(first.size())).append(" ").append(first).append(second);
  return RootKey(text);
}

std::string_view Bytes(const PageKey& key) {
  return {reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size()};
}

}  // namespace

void TextUsers::DropOldest(Entries* entries) {
  entries->erase(std::min_element(entries->begin(), entries->end(),
                                  [](const auto& a, const auto& b) { return a.second.seen < b.second.seen; }));
}

bool TextUsers::Note(const PageKey& text, const PageKey& user) {
  if (const auto known = several_.find(text); known != several_.end()) {
    known->second.seen = ++time_;
    return true;
  }
  Entry& entry = few_[text];
  entry.seen = ++time_;
  if (std::find(entry.users.begin(), entry.users.end(), user) == entry.users.end()) entry.users.push_back(user);
  if (entry.users.size() < kSeveral) {
    if (few_.size() > kMostTexts) DropOldest(&few_);
    return false;
  }
  several_.insert(few_.extract(text));
  if (several_.size() > kMostTexts) DropOldest(&several_);
  return true;
}

CacheDomain CacheDomains::Of(const std::string& origin, const std::string& client, std::span<const int32_t> prompt,
                             int64_t shared_tokens) {
  if (share_ == PrefixShare::kAll) return {};
  CacheDomain domain{KeyOf("client", origin, client), {}, 0};
  const auto size = static_cast<int64_t>(prompt.size());
  const int64_t whole = std::clamp<int64_t>(shared_tokens, 0, size) / page_tokens_ * page_tokens_;
  if (share_ == PrefixShare::kClient || whole == 0) return domain;
  const PageKey text = ChildKey(RootKey("system text"), prompt.first(static_cast<size_t>(whole)));
  const PageKey of_origin = KeyOf("text of origin", origin, Bytes(text));
  const bool here = users_.Note(of_origin, domain.own);
  const bool everywhere = users_.Note(text, KeyOf("origin", origin));
  if (!here && !everywhere) return domain;
  domain.shared = everywhere ? text : of_origin;
  domain.shared_tokens = whole;
  return domain;
}

int64_t CommonTokens(std::span<const int32_t> a, const CacheDomain& of_a, std::span<const int32_t> b,
                     const CacheDomain& of_b, int64_t page_tokens) {
  const auto same = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
  for (size_t begin = 0; static_cast<std::ptrdiff_t>(begin) < same; begin += static_cast<size_t>(page_tokens)) {
    if (of_a.At(begin, page_tokens) != of_b.At(begin, page_tokens)) return static_cast<int64_t>(begin);
  }
  return same;
}

}  // namespace inkstone

#include "tokenizer/added_tokens.h"

#include "tokenizer/unicode.h"

namespace inkstone {

using unicode::ClassTable;
using unicode::DecodeValid;

void AddedTokenMatcher::Add(const AddedToken& token) {
  if (token.content.empty()) return;
  uint32_t node = 0;
  for (const char c : token.content) {
    const uint64_t edge = static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(c);
    const auto [it, added] = edges_.emplace(edge, nodes_);
    if (added) ++nodes_;
    node = it->second;
  }
  starts_[static_cast<unsigned char>(token.content[0])] = true;
  if (accepts_.emplace(node, static_cast<uint32_t>(tokens_.size())).second) tokens_.push_back(token);
}

const AddedToken* AddedTokenMatcher::Longest(std::string_view s, size_t begin) const {
  const AddedToken* best = nullptr;
  uint32_t node = 0;
  for (size_t i = begin; i < s.size(); ++i) {
    const auto edge = edges_.find(static_cast<uint64_t>(node) << 8 | static_cast<unsigned char>(s[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (const auto found = accepts_.find(node); found != accepts_.end()) best = &tokens_[found->second];
  }
  return best;
}

bool AddedTokenMatcher::Find(std::string_view s, Match* match) const {
  size_t pos = match->end;
  while (pos < s.size()) {
    if (!starts_[static_cast<unsigned char>(s[pos])]) {
      ++pos;
      continue;
    }
    const AddedToken* token = Longest(s, pos);
    if (token == nullptr) {
      ++pos;
      continue;
    }
    const size_t end = pos + token->content.size();
    if (!token->single_word || !TouchesWord(s, pos, end)) {
      *match = {pos, end, token};
      return true;
    }
    pos = end;
  }
  return false;
}

bool AddedTokenMatcher::TouchesWord(std::string_view s, size_t begin, size_t end) {
  const ClassTable& classes = ClassTable::Get();
  const auto is_word = [&](size_t pos) { return classes[DecodeValid(s.data() + pos).code_point] & unicode::kWord; };
  if (begin > 0 && is_word(begin - unicode::LastSize(s.substr(0, begin)))) return true;
  return end < s.size() && is_word(end);
}

size_t AddedTokenMatcher::SpaceBefore(std::string_view s, size_t pos) {
  const ClassTable& classes = ClassTable::Get();
  while (pos > 0) {
    const size_t size = unicode::LastSize(s.substr(0, pos));
    if (!(classes[DecodeValid(s.data() + pos - size).code_point] & unicode::kSpace)) break;
    pos -= size;
  }
  return pos;
}

size_t AddedTokenMatcher::SpaceAfter(std::string_view s, size_t pos) {
  const ClassTable& classes = ClassTable::Get();
  while (pos < s.size()) {
    const auto c = DecodeValid(s.data() + pos);
    if (!(classes[c.code_point] & unicode::kSpace)) break;
    pos += c.size;
  }
  return pos;
}

}  // namespace inkstone

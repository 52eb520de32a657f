// Tokens that are found in the text before anything else happens to it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace inkstone {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // takes the white space after it along
  bool normalized = false;   // is looked for in the normalized text
};

// Finds added tokens: leftmost, longest, as the reference's Aho-Corasick automaton does.
class AddedTokenMatcher {
 public:
  // Longest content accepted by the loaders: it bounds the work at each position.
  static constexpr size_t kMaxContent = 1024;

  void Add(const AddedToken& token);
  bool empty() const { return tokens_.empty(); }

  // Calls text(stretch) and token(id) in order of appearance; stretches are not empty.
  template <typename OnText, typename OnToken>
  void Split(std::string_view s, OnText&& text, OnToken&& token) const {
    size_t done = 0;
    for (Match match; Find(s, &match);) {
      const size_t begin = match.token->lstrip ? std::max(SpaceBefore(s, match.begin), done) : match.begin;
      if (done < begin) text(s.substr(done, begin - done));
      token(match.token->id);
      done = match.token->rstrip ? SpaceAfter(s, match.end) : match.end;
    }
    if (done < s.size()) text(s.substr(done));
  }

 private:
  struct Match {
    size_t begin = 0;
    size_t end = 0;  // the search goes on here
    const AddedToken* token = nullptr;
  };
  bool Find(std::string_view s, Match* match) const;
  const AddedToken* Longest(std::string_view s, size_t begin) const;
  static bool TouchesWord(std::string_view s, size_t begin, size_t end);
  static size_t SpaceBefore(std::string_view s, size_t pos);
  static size_t SpaceAfter(std::string_view s, size_t pos);

  std::vector<AddedToken> tokens_;
  std::array<bool, 256> starts_{};                  // bytes that some token starts with
  std::unordered_map<uint64_t, uint32_t> edges_;    // trie: node << 8 | byte -> node
  std::unordered_map<uint32_t, uint32_t> accepts_;  // node -> index in tokens_
  uint32_t nodes_ = 1;
};

}  // namespace inkstone

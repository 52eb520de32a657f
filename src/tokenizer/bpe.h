// Byte pair encoding of one pre-tokenized piece.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"

namespace inkstone {

// The bytes of every token, in one arena. Ids without a token are allowed.
class TokenTable {
 public:
  struct Token {
    std::string bytes;
    bool present = false;
    bool in_alphabet = true;  // its vocabulary text maps to `bytes` by the byte alphabet; otherwise it is `bytes`
  };
  explicit TokenTable(const std::vector<Token>& tokens);

  int32_t size() const { return static_cast<int32_t>(flags_.size()); }
  bool present(int32_t id) const { return id >= 0 && id < size() && (flags_[id] & kPresent) != 0; }
  bool in_alphabet(int32_t id) const { return (flags_[id] & kInAlphabet) != 0; }
  std::string_view bytes(int32_t id) const {
    return std::string_view(arena_).substr(begin_[id], begin_[id + 1] - begin_[id]);
  }

 private:
  static constexpr uint8_t kPresent = 1;
  static constexpr uint8_t kInAlphabet = 2;
  std::string arena_;
  std::vector<uint32_t> begin_;  // (size + 1)
  std::vector<uint8_t> flags_;
};

struct BpeOptions {
  bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges say
  int32_t unknown = -1;        // symbol of bytes without a token; -1 drops them
  bool fuse_unknown = false;   // neighbouring unknown bytes make one symbol
};

class BpeModel {
 public:
  static constexpr int32_t kMaxVocab = 1 << 21;  // so that a merge packs into 64 bits
  static constexpr size_t kMaxMerges = (1 << 22) - 2;

  struct Merge {
    int32_t left;
    int32_t right;
    int32_t merged;
  };
  // `tokens` outlives the model. `words[id]`: the token takes part in encoding (its text is in the model's vocabulary).
  // Merges in order of rank; where a pair appears twice, the later one counts. Ids are within the table.
  BpeModel(const TokenTable& tokens, const std::vector<bool>& words, std::vector<Merge> merges,
           const BpeOptions& options);

  // Appends the ids of one piece. O(n log n).
  void Encode(std::string_view piece, std::vector<int32_t>* out) const;

  std::span<const Merge> merges() const { return merges_; }
  const BpeOptions& options() const { return options_; }

 private:
  static constexpr uint32_t kNoRank = UINT32_MAX;
  struct WordSlot {
    uint32_t tag = 0;
    int32_t id = -1;
  };

  void BuildMergeTable();
  void BuildWordTable(const std::vector<bool>& words);
  int32_t FindWord(std::string_view piece) const;
  uint32_t Rank(int32_t left, int32_t right) const;
  // A byte's token, or the unknown symbol; -1 when such a byte is dropped.
  int32_t SymbolOf(uint8_t byte) const { return byte_symbol_[byte] >= 0 ? byte_symbol_[byte] : options_.unknown; }
  // Writes the symbols that merging starts from, and the rank of each with its successor (kNoRank for the last), up to
  // piece.size() of both. Returns their number.
  size_t Start(std::string_view piece, int32_t* symbols, uint32_t* ranks) const;
  void EncodeShort(std::string_view piece, std::vector<int32_t>* out) const;
  void EncodeLong(std::string_view piece, std::vector<int32_t>* out) const;

  const TokenTable* tokens_;
  BpeOptions options_;
  std::vector<Merge> merges_;
  std::array<int32_t, 256> byte_symbol_{};  // -1: the byte has no token
  std::vector<uint64_t> pair_slots_;        // left << 43 | right << 22 | rank, open addressing; all ones: empty
  int pair_shift_ = 0;
  std::vector<uint32_t> byte_pair_rank_;  // (256 * 256): rank of two bytes' symbols, most lookups of all
  std::vector<WordSlot> word_slots_;      // words that encode to themselves; open addressing
  int word_shift_ = 0;
  size_t longest_word_ = 0;  // bytes
};

// Hash of up to 16 bytes or more; used for words and for the piece cache.
uint64_t HashBytes(std::string_view bytes);

// A piece of at most 16 bytes as two words, distinct for distinct pieces of one size.
struct PackedPiece {
  uint64_t low;
  uint64_t high;
};
PackedPiece PackPiece(std::string_view piece);

// Remembers what recent short pieces encoded to during one call of Encode: the ids lie in the call's own output.
class PieceCache {
 public:
  explicit PieceCache(bool enabled) : slots_(enabled ? kSlots : 0) {}
  void Encode(const BpeModel& model, std::string_view piece, std::vector<int32_t>* out);

 private:
  static constexpr int kBits = 12;
  static constexpr size_t kSlots = size_t{1} << kBits;
  struct Slot {
    PackedPiece key{};
    uint32_t size = 0;  // bytes of the piece; 0: empty
    uint32_t count = 0;
    size_t offset = 0;  // of the ids in the output
  };
  std::vector<Slot> slots_;
};

}  // namespace inkstone

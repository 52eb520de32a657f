#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <queue>

namespace inkstone {
namespace {

constexpr size_t kShortPiece = 64;  // bytes; up to here a scan for the best pair beats a heap
constexpr uint64_t kEmptyPair = ~uint64_t{0};
constexpr int kRankBits = 22;
constexpr int kIdBits = 21;

uint64_t Load64(const char* p) {
  uint64_t value;
  std::memcpy(&value, p, 8);
  return value;
}

uint64_t Load32(const char* p) {
  uint32_t value;
  std::memcpy(&value, p, 4);
  return value;
}

uint64_t Mix(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a ^ 0x9E3779B97F4A7C15u) * (b ^ 0xD6E8FEB86659FD93u);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Slots for `count` entries, at most half full: a power of two.
int TableBits(size_t count) { return std::max(4, static_cast<int>(std::bit_width(count * 2))); }

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << kIdBits | static_cast<uint64_t>(right);
}

size_t PairSlot(uint64_t key, int shift) { return static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> shift); }

}  // namespace

PackedPiece PackPiece(std::string_view piece) {
  const char* p = piece.data();
  const size_t n = piece.size();
  if (n >= 8) return {Load64(p), Load64(p + n - 8)};
  if (n >= 4) return {Load32(p) | Load32(p + n - 4) << 32, 0};
  uint64_t low = 0;
  for (size_t i = 0; i < n; ++i) low = low << 8 | static_cast<unsigned char>(p[i]);
  return {low, 0};
}

uint64_t HashBytes(std::string_view bytes) {
  uint64_t hash = bytes.size();
  while (bytes.size() > 16) {
    hash = Mix(hash ^ Load64(bytes.data()), Load64(bytes.data() + 8));
    bytes.remove_prefix(16);
  }
  const PackedPiece rest = PackPiece(bytes);
  return Mix(hash ^ rest.low, rest.high ^ hash);
}

TokenTable::TokenTable(const std::vector<Token>& tokens) {
  size_t total = 0;
  for (const Token& token : tokens) total += token.bytes.size();
  arena_.reserve(total);
  begin_.reserve(tokens.size() + 1);
  begin_.push_back(0);
  for (const Token& token : tokens) {
    arena_ += token.bytes;
    begin_.push_back(static_cast<uint32_t>(arena_.size()));
    flags_.push_back(static_cast<uint8_t>((token.present ? kPresent : 0) | (token.in_alphabet ? kInAlphabet : 0)));
  }
}

BpeModel::BpeModel(const TokenTable& tokens, const std::vector<bool>& words, std::vector<Merge> merges,
                   const BpeOptions& options)
    : tokens_(&tokens), options_(options), merges_(std::move(merges)) {
  byte_symbol_.fill(-1);
  for (int32_t id = 0; id < tokens.size(); ++id) {
    const std::string_view bytes = tokens.bytes(id);
    if (words[id] && bytes.size() == 1) byte_symbol_[static_cast<unsigned char>(bytes[0])] = id;
  }
  BuildMergeTable();
  BuildWordTable(words);
}

void BpeModel::BuildMergeTable() {
  const int bits = TableBits(merges_.size());
  pair_shift_ = 64 - bits;
  pair_slots_.assign(size_t{1} << bits, kEmptyPair);
  for (size_t rank = 0; rank < merges_.size(); ++rank) {
    const uint64_t key = PairKey(merges_[rank].left, merges_[rank].right);
    size_t slot = PairSlot(key, pair_shift_);
    while (pair_slots_[slot] != kEmptyPair && pair_slots_[slot] >> kRankBits != key) {
      slot = (slot + 1) & (pair_slots_.size() - 1);
    }
    pair_slots_[slot] = key << kRankBits | rank;
  }
  byte_pair_rank_.assign(256 * 256, kNoRank);
  for (size_t pair = 0; pair < byte_pair_rank_.size(); ++pair) {
    const int32_t left = SymbolOf(static_cast<uint8_t>(pair >> 8));
    const int32_t right = SymbolOf(static_cast<uint8_t>(pair));
    if (left >= 0 && right >= 0) byte_pair_rank_[pair] = Rank(left, right);
  }
}

void BpeModel::BuildWordTable(const std::vector<bool>& words) {
  std::vector<int32_t> own;  // tokens that a piece of the same bytes becomes
  std::vector<int32_t> ids;
  size_t longest = 0;
  for (int32_t id = 0; id < tokens_->size(); ++id) {
    const std::string_view bytes = tokens_->bytes(id);
    if (!words[id] || bytes.empty()) continue;
    if (!options_.ignore_merges) {
      ids.clear();
      Encode(bytes, &ids);
      if (ids.size() != 1 || ids[0] != id) continue;
    }
    own.push_back(id);
    longest = std::max(longest, bytes.size());
  }
  const int bits = TableBits(own.size());
  std::vector<WordSlot> slots(size_t{1} << bits);
  for (const int32_t id : own) {
    const uint64_t hash = HashBytes(tokens_->bytes(id));
    size_t slot = static_cast<size_t>(hash >> (64 - bits));
    while (slots[slot].id >= 0) slot = (slot + 1) & (slots.size() - 1);
    slots[slot] = {static_cast<uint32_t>(hash), id};
  }
  word_shift_ = 64 - bits;
  word_slots_ = std::move(slots);
  longest_word_ = longest;
}

int32_t BpeModel::FindWord(std::string_view piece) const {
  if (piece.size() > longest_word_) return -1;  // always so while the table is being built
  const uint64_t hash = HashBytes(piece);
  size_t slot = static_cast<size_t>(hash >> word_shift_);
  for (; word_slots_[slot].id >= 0; slot = (slot + 1) & (word_slots_.size() - 1)) {
    if (word_slots_[slot].tag == static_cast<uint32_t>(hash) && tokens_->bytes(word_slots_[slot].id) == piece) {
      return word_slots_[slot].id;
    }
  }
  return -1;
}

uint32_t BpeModel::Rank(int32_t left, int32_t right) const {
  const uint64_t key = PairKey(left, right);
  size_t slot = PairSlot(key, pair_shift_);
  for (; pair_slots_[slot] != kEmptyPair; slot = (slot + 1) & (pair_slots_.size() - 1)) {
    if (pair_slots_[slot] >> kRankBits == key) return pair_slots_[slot] & ((1u << kRankBits) - 1);
  }
  return kNoRank;
}

size_t BpeModel::Start(std::string_view piece, int32_t* symbols, uint32_t* ranks) const {
  size_t count = 0;
  bool after_unknown = false;
  for (const char c : piece) {
    const auto byte = static_cast<uint8_t>(c);
    const bool unknown = byte_symbol_[byte] < 0;
    const bool skip = unknown && (options_.unknown < 0 || (options_.fuse_unknown && after_unknown));
    if (!skip) symbols[count++] = SymbolOf(byte);
    after_unknown = unknown;
  }
  const bool whole = count == piece.size();  // one symbol for each byte
  for (size_t i = 0; i + 1 < count; ++i) {
    ranks[i] = whole ? byte_pair_rank_[static_cast<uint8_t>(piece[i]) << 8 | static_cast<uint8_t>(piece[i + 1])]
                     : Rank(symbols[i], symbols[i + 1]);
  }
  if (count > 0) ranks[count - 1] = kNoRank;
  return count;
}

void BpeModel::Encode(std::string_view piece, std::vector<int32_t>* out) const {
  if (const int32_t word = FindWord(piece); word >= 0) {
    out->push_back(word);
  } else if (piece.size() <= kShortPiece) {
    EncodeShort(piece, out);
  } else {
    EncodeLong(piece, out);
  }
}

void BpeModel::EncodeShort(std::string_view piece, std::vector<int32_t>* out) const {
  std::array<int32_t, kShortPiece> symbols;
  std::array<uint32_t, kShortPiece> ranks;  // of the pair that starts at each symbol
  size_t count = Start(piece, symbols.data(), ranks.data());
  while (count > 1) {
    const uint32_t* best = std::min_element(ranks.data(), ranks.data() + count - 1);  // the leftmost of equals
    if (*best == kNoRank) break;
    const size_t at = static_cast<size_t>(best - ranks.data());
    symbols[at] = merges_[*best].merged;
    std::copy(symbols.begin() + at + 2, symbols.begin() + count, symbols.begin() + at + 1);
    if (at + 2 < count) std::copy(ranks.begin() + at + 2, ranks.begin() + count - 1, ranks.begin() + at + 1);
    --count;
    if (at > 0) ranks[at - 1] = Rank(symbols[at - 1], symbols[at]);
    if (at + 1 < count) ranks[at] = Rank(symbols[at], symbols[at + 1]);
  }
  out->insert(out->end(), symbols.begin(), symbols.begin() + count);
}

void BpeModel::EncodeLong(std::string_view piece, std::vector<int32_t>* out) const {
  constexpr uint32_t kEnd = UINT32_MAX;
  struct Node {
    int32_t symbol;
    uint32_t previous;
    uint32_t next;
    uint32_t rank;  // of the pair that starts here; kNoRank also once the node is gone
  };
  std::vector<int32_t> symbols(piece.size());
  std::vector<uint32_t> ranks(piece.size());
  const size_t count = Start(piece, symbols.data(), ranks.data());
  if (count == 0) return;
  std::vector<Node> nodes(count);
  std::vector<uint64_t> entries;  // rank << 32 | node: the lowest rank first, the leftmost of equals
  for (size_t i = 0; i < count; ++i) {
    nodes[i] = {symbols[i], i == 0 ? kEnd : static_cast<uint32_t>(i - 1),
                i + 1 == count ? kEnd : static_cast<uint32_t>(i + 1), ranks[i]};
    if (ranks[i] != kNoRank) entries.push_back(static_cast<uint64_t>(ranks[i]) << 32 | i);
  }
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> heap({}, std::move(entries));
  const auto update = [&](uint32_t at) {
    Node& node = nodes[at];
    node.rank = node.next == kEnd ? kNoRank : Rank(node.symbol, nodes[node.next].symbol);
    if (node.rank != kNoRank) heap.push(static_cast<uint64_t>(node.rank) << 32 | at);
  };
  while (!heap.empty()) {
    const uint32_t rank = static_cast<uint32_t>(heap.top() >> 32);
    const uint32_t at = static_cast<uint32_t>(heap.top());
    heap.pop();
    Node& node = nodes[at];
    if (node.rank != rank) continue;  // a neighbour was merged since
    node.symbol = merges_[rank].merged;
    nodes[node.next].rank = kNoRank;
    node.next = nodes[node.next].next;
    if (node.next != kEnd) nodes[node.next].previous = at;
    update(at);
    if (node.previous != kEnd) update(node.previous);
  }
  for (uint32_t at = 0; at != kEnd; at = nodes[at].next) out->push_back(nodes[at].symbol);
}

void PieceCache::Encode(const BpeModel& model, std::string_view piece, std::vector<int32_t>* out) {
  if (slots_.empty() || piece.size() > 16) {
    model.Encode(piece, out);
    return;
  }
  const PackedPiece key = PackPiece(piece);
  Slot& slot = slots_[Mix(key.low ^ piece.size(), key.high) >> (64 - kBits)];
  if (slot.size == piece.size() && slot.key.low == key.low && slot.key.high == key.high) {
    const size_t end = out->size();
    out->resize(end + slot.count);
    std::copy_n(out->begin() + static_cast<ptrdiff_t>(slot.offset), slot.count,
                out->begin() + static_cast<ptrdiff_t>(end));
    return;
  }
  const size_t offset = out->size();
  model.Encode(piece, out);
  slot = {key, static_cast<uint32_t>(piece.size()), static_cast<uint32_t>(out->size() - offset), offset};
}

}  // namespace inkstone

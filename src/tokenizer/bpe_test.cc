#include "tokenizer/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

namespace inkstone {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A vocabulary over the letters of `alphabet` and of merged tokens, grown at random.
struct RandomModel {
  RandomModel(uint32_t seed, const std::string& alphabet, int merge_count) {
    std::mt19937 rng(seed);
    for (const char c : alphabet) Add(std::string(1, c));
    while (static_cast<int>(merges.size()) < merge_count) {
      const int32_t left = static_cast<int32_t>(rng() % texts.size());
      const int32_t right = static_cast<int32_t>(rng() % texts.size());
      const std::string merged = texts[left] + texts[right];
      if (merged.size() > 12 || ranks.count({left, right})) continue;
      ranks[{left, right}] = merges.size();
      merges.push_back({left, right, Add(merged)});
    }
  }
  int32_t Add(const std::string& text) {
    const auto [it, added] = ids.emplace(text, static_cast<int32_t>(texts.size()));
    if (added) texts.push_back(text);
    return it->second;
  }
  TokenTable Table() const {
    std::vector<TokenTable::Token> tokens;
    for (const std::string& text : texts) tokens.push_back({text, true, true});
    return TokenTable(tokens);
  }
  // The definition: again and again the pair of the lowest rank, the leftmost first.
  std::vector<int32_t> Naive(std::string_view piece) const {
    std::vector<int32_t> out;
    for (const char c : piece) out.push_back(ids.at(std::string(1, c)));
    while (true) {
      size_t best_rank = merges.size();
      size_t best = 0;
      for (size_t i = 0; i + 1 < out.size(); ++i) {
        const auto it = ranks.find({out[i], out[i + 1]});
        if (it != ranks.end() && it->second < best_rank) {
          best_rank = it->second;
          best = i;
        }
      }
      if (best_rank == merges.size()) return out;
      out[best] = merges[best_rank].merged;
      out.erase(out.begin() + static_cast<ptrdiff_t>(best) + 1);
    }
  }

  std::vector<std::string> texts;
  std::map<std::string, int32_t> ids;
  std::vector<BpeModel::Merge> merges;
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
};

TEST(Bpe, AgreesWithTheDefinitionAtEveryLength) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const RandomModel model(seed, "abc", 60);
    const TokenTable table = model.Table();
    const BpeModel bpe(table, std::vector<bool>(model.texts.size(), true), model.merges, {});
    PieceCache cache(true);
    std::mt19937 rng(seed);
    std::vector<int32_t> joined;
    for (int i = 0; i < 300; ++i) {
      std::string piece;
      for (size_t n = 1 + rng() % (i % 3 == 0 ? 200 : 20); n > 0; --n) piece.push_back("abc"[rng() % 3]);
      std::vector<int32_t> ids;
      bpe.Encode(piece, &ids);
      ASSERT_EQ(ids, model.Naive(piece)) << piece;
      const size_t before = joined.size();
      cache.Encode(bpe, piece, &joined);
      ASSERT_EQ(std::vector<int32_t>(joined.begin() + static_cast<ptrdiff_t>(before), joined.end()), ids) << piece;
    }
  }
}

TEST(Bpe, WordsThatMergesDoNotReachAreNotUsed) {
  std::vector<TokenTable::Token> tokens = {
      {"a", true, true}, {"b", true, true}, {"ab", true, true}, {"aba", true, true}};
  const TokenTable table(tokens);
  const std::vector<BpeModel::Merge> merges = {{0, 1, 2}};
  std::vector<int32_t> ids;
  BpeModel(table, std::vector<bool>(4, true), merges, {}).Encode("aba", &ids);
  EXPECT_THAT(ids, ElementsAre(2, 0));
  ids.clear();
  BpeModel(table, std::vector<bool>(4, true), merges, {.ignore_merges = true}).Encode("aba", &ids);
  EXPECT_THAT(ids, ElementsAre(3));
}

TEST(Bpe, UnknownBytes) {
  const TokenTable table({{"a", true, true}, {"?", true, true}});
  const std::vector<bool> words(2, true);
  const auto encode = [&](const BpeOptions& options, const std::string& piece) {
    std::vector<int32_t> ids;
    BpeModel(table, words, {}, options).Encode(piece, &ids);
    return ids;
  };
  EXPECT_THAT(encode({}, "axxa"), ElementsAre(0, 0));
  EXPECT_THAT(encode({.unknown = 1}, "axxa"), ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(encode({.unknown = 1, .fuse_unknown = true}, "axxa"), ElementsAre(0, 1, 0));
  EXPECT_THAT(encode({}, std::string(100, 'x')), IsEmpty());
}

TEST(Bpe, PackedPiecesOfOneSizeAreDistinct) {
  for (size_t size = 1; size <= 16; ++size) {
    const std::string base(size, 'q');
    for (size_t at = 0; at < size; ++at) {
      std::string other = base;
      other[at] = 'r';
      const PackedPiece a = PackPiece(base);
      const PackedPiece b = PackPiece(other);
      EXPECT_TRUE(a.low != b.low || a.high != b.high) << size << " " << at;
      EXPECT_NE(HashBytes(base), HashBytes(other));
    }
  }
}

}  // namespace
}  // namespace inkstone

// For tests: a tokenizer of single bytes, and a model that shows wrong paging, wrong phases and wrong positions in what
// it generates.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <boost/json.hpp>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "model/model.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {

constexpr int32_t kFakeEos = 256;
constexpr int32_t kFakeControl = 257;  // "<|ctl|>"
constexpr int32_t kFakeModelVocab = 260;

// Ids 0 to 255 are the bytes; kFakeEos is the stop token.
inline std::unique_ptr<Tokenizer> MakeByteTokenizer() {
  boost::json::object vocab;
  for (int byte = 0; byte < 256; ++byte) vocab[AlphabetFromBytes(std::string(1, static_cast<char>(byte)))] = byte;
  boost::json::array added;
  for (const auto& [id, text] : {std::pair{kFakeEos, "<|end|>"}, std::pair{kFakeControl, "<|ctl|>"}}) {
    added.push_back(boost::json::object{{"id", id},
                                        {"content", text},
                                        {"single_word", false},
                                        {"lstrip", false},
                                        {"rstrip", false},
                                        {"normalized", false},
                                        {"special", true}});
  }
  const boost::json::object root{
      {"version", "1.0"},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", ""},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", false},
        {"vocab", vocab},
        {"merges", boost::json::array()}}}};
  auto tokenizer = Tokenizer::FromJson(boost::json::serialize(root), R"({"eos_token": "<|end|>"})", "fake");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return std::move(tokenizer).value();
}

// Each position's token and phase, and how many positions it no longer saw, are stored in the sequence's pages; logits
// are a hash of what the pages hold for all positions so far. So a text is right only when every entry was written, by
// the right phase and with the right positions in sight, to a page of its own.
class FakeModel final : public Model {
 public:
  struct Behaviour {
    std::function<void(std::span<const SequenceStep>)> before_step = {};
    std::function<void(int64_t rows, Phase phase)> before_layer = {};
    int32_t failing_token = -1;  // a step with it fails
    int32_t nan_token = -1;      // logits after it contain a NaN
    float eos_logit = 1.5f;      // others are -4 to 4
  };

  FakeModel(const ModelLimits& limits, Behaviour behaviour) : limits_(limits), behaviour_(std::move(behaviour)) {
    config_.architecture = "fake";
    config_.layers = 3;
    config_.hidden = 4;  // a row: token, nothing, and the hash so far in two
    config_.kv_heads = 1;
    config_.head_dim = 2;  // as F32: 8 bytes for each position
    config_.vocab = kFakeModelVocab;
    config_.context = 4096;
  }

  const ModelConfig& config() const override { return config_; }
  const ModelLimits& limits() const override { return limits_; }

  Status Forward(std::span<const SequenceStep> sequences, std::span<float> logits) override {
    std::vector<float> values(static_cast<size_t>(limits_.max_step_rows * config_.hidden));
    int64_t rows = 0, with_logits = 0;
    for (const SequenceStep& s : sequences) {
      rows += static_cast<int64_t>(s.tokens.size());
      with_logits += s.logits == LogitRows::kNone ? 0 : 1;
    }
    const Rows hidden{values.data(), rows, config_.hidden, config_.hidden};
    INK_RETURN_IF_ERROR(Embed(sequences, hidden));
    INK_RETURN_IF_ERROR(RunLayers(0, config_.layers, sequences, hidden));
    return ComputeLogits(hidden.Slice(0, with_logits), Phase::kDecode, logits);
  }

  Status Embed(std::span<const SequenceStep> sequences, Rows hidden) override {
    if (behaviour_.before_step) behaviour_.before_step(sequences);
    int64_t row = 0;
    bool decoding = false;
    for (const SequenceStep& s : sequences) {
      if (decoding && s.phase == Phase::kPrompt) return Internal("a prompt comes after a decode");
      decoding = s.phase == Phase::kDecode;
      const int64_t end = s.first_position + static_cast<int64_t>(s.tokens.size());
      if (s.first_position < s.pages->dropped_tokens() || end > s.pages->capacity() || end > limits_.max_context)
        return Internal("no room");
      for (const int32_t token : s.tokens) {
        if (token == behaviour_.failing_token) return Internal("failing token");
        hidden.row(row)[0] = static_cast<float>(token);
        SetHash(hidden.row(row++), 1);
      }
    }
    return row > limits_.max_step_rows || row != hidden.rows ? Internal("wrong rows") : Status::Ok();
  }

  // Every layer stores the tokens that come in its rows, and goes on with the hash of the rows with logits.
  Status RunLayers(int first, int last, std::span<const SequenceStep> sequences, Rows hidden) override {
    spilled_.Clear();
    for (const SequenceStep& s : sequences) spilled_.Add(*s.pages);
    for (int layer = first; layer < last; ++layer) {
      int64_t row = 0, kept = 0;
      INK_RETURN_IF_ERROR(spilled_.Fetch(layer));
      if (behaviour_.before_layer) behaviour_.before_layer(hidden.rows, sequences[0].phase);
      for (const SequenceStep& s : sequences) {
        Store(s, layer, hidden, row);
        row += static_cast<int64_t>(s.tokens.size());
        if (s.logits == LogitRows::kNone) continue;
        const uint64_t hash = Hash(s, layer, GetHash(hidden.row(row - 1)));
        SetHash(hidden.row(layer + 1 == config_.layers ? kept++ : row - 1), hash);
      }
    }
    return Status::Ok();
  }

  Status ComputeLogits(Rows hidden, Phase phase, std::span<float> logits) override {
    if (phase != Phase::kDecode) return Internal("lone last rows are decoded");
    for (int64_t r = 0; r < hidden.rows; ++r) {
      Logits(hidden.row(r), logits.subspan(static_cast<size_t>(r * config_.vocab)).data());
    }
    return Status::Ok();
  }

 private:
  struct Entry {
    int32_t token;
    int32_t how;  // phase, and twice the dropped positions
  };
  static std::byte* Slot(const PageTable& pages, int layer, int64_t place) {
    const int64_t size = pages.pool().layout().page_tokens;
    return pages.Keys(static_cast<size_t>(place / size), layer) + static_cast<size_t>(place % size) * sizeof(Entry);
  }
  static void Store(const SequenceStep& s, int layer, Rows hidden, int64_t row) {
    const int64_t dropped = s.pages->dropped_tokens();
    for (size_t i = 0; i < s.tokens.size(); ++i) {
      const Entry entry{static_cast<int32_t>(hidden.row(row + static_cast<int64_t>(i))[0]),
                        static_cast<int32_t>(s.phase) + 2 * static_cast<int32_t>(dropped)};
      std::memcpy(Slot(*s.pages, layer, s.first_position - dropped + static_cast<int64_t>(i)), &entry, sizeof(entry));
    }
  }
  static uint64_t GetHash(const float* row) {
    uint64_t hash;
    std::memcpy(&hash, row + 2, sizeof(hash));
    return hash;
  }
  static void SetHash(float* row, uint64_t hash) { std::memcpy(row + 2, &hash, sizeof(hash)); }
  // Of what the layer's pages hold for all positions so far. The lowest bit tells a token after which logits contain a
  // NaN.
  uint64_t Hash(const SequenceStep& s, int layer, uint64_t hash) const {
    const int64_t end = s.first_position - s.pages->dropped_tokens() + static_cast<int64_t>(s.tokens.size());
    for (int64_t place = 0; place < end; ++place) {
      Entry entry;
      std::memcpy(&entry, Slot(*s.pages, layer, place), sizeof(entry));
      hash = (hash ^ static_cast<uint64_t>(entry.token * 2 + entry.how)) * 0x9e3779b97f4a7c15u;
      hash ^= hash >> 29;
    }
    return (hash & ~uint64_t{1}) | (s.tokens.back() == behaviour_.nan_token ? 1 : 0);
  }
  void Logits(const float* hidden, float* row) const {
    uint64_t hash = GetHash(hidden);
    const bool nan = (hash & 1) != 0;
    for (int32_t t = 0; t < config_.vocab; ++t) {
      hash = hash * 6364136223846793005u + 1442695040888963407u;
      row[t] = static_cast<float>(hash >> 40) * (8.0f / (1 << 24)) - 4.0f;
    }
    row[kFakeEos] = behaviour_.eos_logit;
    row[kFakeModelVocab - 1] = 50;  // a row that no token belongs to
    if (nan) row[7] = std::numeric_limits<float>::quiet_NaN();
  }

  ModelConfig config_;
  ModelLimits limits_;
  Behaviour behaviour_;
  SpilledPages spilled_;
};

}  // namespace inkstone

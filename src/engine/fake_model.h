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

// Each position's token and phase are stored in the sequence's pages; logits are a hash of what the pages hold for all
// positions so far. So a text is right only when every entry was written, by the right phase, to a page of its own.
class FakeModel final : public Model {
 public:
  struct Behaviour {
    std::function<void(std::span<const SequenceStep>)> before_step = {};
    int32_t failing_token = -1;  // a step with it fails
    int32_t nan_token = -1;      // logits after it contain a NaN
    float eos_logit = 1.5f;      // others are -4 to 4
  };

  FakeModel(const ModelLimits& limits, Behaviour behaviour) : limits_(limits), behaviour_(std::move(behaviour)) {
    config_.architecture = "fake";
    config_.layers = 1;
    config_.kv_heads = 1;
    config_.head_dim = 2;  // as F32: 8 bytes for each position
    config_.vocab = kFakeModelVocab;
    config_.context = 4096;
  }

  const ModelConfig& config() const override { return config_; }
  const ModelLimits& limits() const override { return limits_; }

  Status Forward(std::span<const SequenceStep> sequences, std::span<float> logits) override {
    if (behaviour_.before_step) behaviour_.before_step(sequences);
    int64_t rows = 0;
    bool decoding = false;
    for (const SequenceStep& s : sequences) {
      rows += static_cast<int64_t>(s.tokens.size());
      if (decoding && s.phase == Phase::kPrompt) return Internal("a prompt comes after a decode");
      decoding = s.phase == Phase::kDecode;
      const int64_t end = s.first_position + static_cast<int64_t>(s.tokens.size());
      if (end > s.pages->capacity() || end > limits_.max_context) return Internal("no room");
      for (const int32_t token : s.tokens) {
        if (token == behaviour_.failing_token) return Internal("failing token");
      }
    }
    if (rows > limits_.max_step_rows) return Internal("too many rows");
    for (const SequenceStep& s : sequences) Store(s);
    float* row = logits.data();
    for (const SequenceStep& s : sequences) {
      if (s.logits == LogitRows::kNone) continue;
      Logits(s, row);
      row += config_.vocab;
    }
    return Status::Ok();
  }

 private:
  struct Entry {
    int32_t token;
    int32_t phase;
  };
  static std::byte* Slot(const PageTable& pages, int64_t position) {
    const int64_t size = pages.pool().layout().page_tokens;
    return pages.pool().Keys(pages.pages()[static_cast<size_t>(position / size)], 0) +
           static_cast<size_t>(position % size) * sizeof(Entry);
  }
  static void Store(const SequenceStep& s) {
    for (size_t i = 0; i < s.tokens.size(); ++i) {
      const Entry entry{s.tokens[i], static_cast<int32_t>(s.phase)};
      std::memcpy(Slot(*s.pages, s.first_position + static_cast<int64_t>(i)), &entry, sizeof(entry));
    }
  }
  void Logits(const SequenceStep& s, float* row) const {
    uint64_t hash = 1;
    const int64_t end = s.first_position + static_cast<int64_t>(s.tokens.size());
    for (int64_t position = 0; position < end; ++position) {
      Entry entry;
      std::memcpy(&entry, Slot(*s.pages, position), sizeof(entry));
      hash = (hash ^ static_cast<uint64_t>(entry.token * 2 + entry.phase)) * 0x9e3779b97f4a7c15u;
      hash ^= hash >> 29;
    }
    for (int32_t t = 0; t < config_.vocab; ++t) {
      hash = hash * 6364136223846793005u + 1442695040888963407u;
      row[t] = static_cast<float>(hash >> 40) * (8.0f / (1 << 24)) - 4.0f;
    }
    row[kFakeEos] = behaviour_.eos_logit;
    row[kFakeModelVocab - 1] = 50;  // a row that no token belongs to
    if (s.tokens.back() == behaviour_.nan_token) row[7] = std::numeric_limits<float>::quiet_NaN();
  }

  ModelConfig config_;
  ModelLimits limits_;
  Behaviour behaviour_;
};

}  // namespace inkstone

// What the tests of whole models share: a run over all positions.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "kvcache/page_pool.h"
#include "model/model.h"

namespace inkstone {

inline std::string ReadText(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline constexpr KvTypes kF32{DType::kF32, DType::kF32};

// Runs tokens in steps of `chunk`; logits of every position, (tokens, vocab).
inline std::vector<float> AllLogits(Model& model, Backend& backend, const std::vector<int32_t>& tokens, int64_t chunk,
                                    Phase phase, KvTypes kv_types = kF32) {
  const int64_t vocab = model.config().vocab;
  const KvLayout layout = *model.config().KvLayoutFor(kv_types);
  auto pool = PagePool::Create(backend, layout, layout.PagesFor(static_cast<int64_t>(tokens.size())));
  EXPECT_TRUE(pool.ok());
  PageTable table(&*pool);
  EXPECT_TRUE(table.Reserve(static_cast<int64_t>(tokens.size())).ok());
  std::vector<float> logits(tokens.size() * static_cast<size_t>(vocab));
  for (size_t begin = 0; begin < tokens.size(); begin += static_cast<size_t>(chunk)) {
    const size_t rows = std::min(static_cast<size_t>(chunk), tokens.size() - begin);
    const SequenceStep step{std::span(tokens).subspan(begin, rows), static_cast<int64_t>(begin), &table, phase,
                            LogitRows::kAll};
    const Status status = model.Forward({&step, 1}, std::span(logits).subspan(begin * static_cast<size_t>(vocab)));
    EXPECT_TRUE(status.ok()) << status.message();
  }
  return logits;
}

inline ModelLimits SmallLimits() {
  ModelLimits limits;
  limits.max_step_rows = limits.max_logit_rows = 96;
  limits.max_context = 256;
  return limits;
}

}  // namespace inkstone

// A story with the shape of Qwen3-4B and numbers of a plausible size, for tests of the report.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "compress/report.h"

namespace inkstone {

struct StoryShape {
  const char* kind;
  int64_t rows;
  int64_t columns;
  double damage;  // relative
};

// Adds one matrix: measured with every type of the table, kept in one that suits its damage.
inline void AddStoryMatrix(const std::string& name, const StoryShape& shape, double damage, CompressionStory* story) {
  SensitivityTable& table = story->sensitivity;
  table.tensors.push_back(name);
  for (size_t t = 0; t < table.types.size(); ++t) {
    table.divergence.push_back(static_cast<float>(damage * std::pow(0.23, static_cast<double>(t))));
  }
  const size_t chosen = damage < 8e-4 ? 0 : damage < 2e-3 ? 1 : damage < 6e-3 ? 2 : damage < 2e-2 ? 4 : 5;
  const auto elements = shape.rows * shape.columns;
  const DType type = table.types[chosen];
  story->tensors.push_back(
      {name, DType::kBF16, static_cast<uint64_t>(2 * elements), type, static_cast<uint64_t>(RowBytes(type, elements))});
  story->parameters += elements;
}

inline void AddStoryNorm(const std::string& name, int64_t elements, CompressionStory* story) {
  const auto n = static_cast<uint64_t>(elements);
  story->tensors.push_back({name, DType::kBF16, 2 * n, DType::kF32, 4 * n});
  story->parameters += elements;
}

inline CompressionStory TestStory(int layers = 36) {
  CompressionStory story;
  story.model = "Qwen3-4B-Instruct";
  story.output = "qwen3-4b-2.2GB.gguf";
  story.sensitivity.types = {DType::kQ3_K, DType::kIQ4_XS, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kQ8_0};
  story.sensitivity.tokens = 8'192;
  AddStoryMatrix("token_embd.weight", {"", 151'936, 2560, 1}, 1.2e-2, &story);
  const StoryShape shapes[] = {{"attn_q", 4096, 2560, 0.4},   {"attn_k", 1024, 2560, 0.5},
                               {"attn_v", 1024, 2560, 1.6},   {"attn_output", 2560, 4096, 0.7},
                               {"ffn_gate", 9728, 2560, 0.8}, {"ffn_up", 9728, 2560, 1.0},
                               {"ffn_down", 2560, 9728, 2.2}};
  for (int layer = 0; layer < layers; ++layer) {
    const double edge = 1 + 8 * std::exp(-layer / 1.2) + 4 * std::exp(-(layers - 1 - layer) / 1.5);
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    for (const StoryShape& shape : shapes) {
      const double wave = 1 + 0.35 * std::sin(layer * 1.7 + shape.damage * 9);
      AddStoryMatrix(prefix + shape.kind + ".weight", shape, 1.4e-3 * shape.damage * edge * wave, &story);
    }
    AddStoryNorm(prefix + "attn_norm.weight", 2560, &story);
    AddStoryNorm(prefix + "ffn_norm.weight", 2560, &story);
  }
  story.sensitivity.divergence[1 * story.sensitivity.types.size()] = std::numeric_limits<float>::quiet_NaN();
  for (const StoryTensor& tensor : story.tensors) {
    story.source_bytes += tensor.source_bytes;
    story.result_bytes += tensor.bytes;
  }
  const auto size = static_cast<double>(story.source_bytes);
  for (int i = 0; i < 24; ++i) {
    const double share = 0.215 + 0.0145 * i;
    story.frontier.push_back({"", static_cast<uint64_t>(share * size), 0.14 * std::exp(-18.5 * (share - 0.215))});
  }
  const double share = static_cast<double>(story.result_bytes) / size;
  story.predicted_divergence = 0.14 * std::exp(-18.5 * (share - 0.215));
  for (const auto& [type, divergence] : {std::pair{DType::kQ3_K, 0.165},
                                         {DType::kIQ4_XS, 0.072},
                                         {DType::kQ4_K, 0.056},
                                         {DType::kQ5_K, 0.019},
                                         {DType::kQ6_K, 0.0061},
                                         {DType::kQ8_0, 0.00074}}) {
    const DTypeInfo& info = Info(type);
    const double part = static_cast<double>(info.block_bytes) / info.block_elements / 2;
    story.uniform.push_back({std::string(info.name), static_cast<uint64_t>(part * size), divergence});
  }
  story.quality = {{"English articles", 32'704, 11.84, 12.19, 0.0412, 0.0007, 0.0124, 0.412, 0.921},
                   {"Chinese articles", 16'352, 18.02, 18.77, 0.0527, 0.0013, 0.0171, 0.588, 0.903},
                   {"Source code", 16'352, 3.41, 3.46, 0.0188, 0.0006, 0.0021, 0.301, 0.957}};
  story.answers = {{"Why does ice float on water?",
                    "Ice floats because it is less dense than liquid water. When water freezes, its molecules settle "
                    "into an open lattice held by hydrogen bonds, which takes up about nine percent more room.",
                    "Ice floats because it is less dense than liquid water. When water freezes, the hydrogen bonds "
                    "arrange its molecules in an open crystal that takes up roughly nine percent more space."},
                   {"用一句话解释潮汐。", "潮汐是月球和太阳的引力在地球近侧与远侧的差别造成的海面涨落。",
                    "潮汐是月球和太阳的引力在地球各处不同而造成的海面周期性涨落。"},
                   {"What is 17 * 23?", "17 * 23 = 391.", "17 * 23 = 391."}};
  story.options = {{"Size asked for", "2.2GB"}, {"Calibration text", "built in, 140 kB"}};
  story.calibration_tokens = 32'768;
  story.seconds = 4'271;
  return story;
}

}  // namespace inkstone

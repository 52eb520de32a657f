// What bounds a rendering, and how the caller's texts are told from the template's.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

namespace inkstone {

// Bounds on one rendering: hostile templates end in an error, not in a hang.
struct RenderLimits {
  int64_t max_steps = 2'000'000;  // statements and expression nodes evaluated
  int64_t max_output_bytes = 64 << 20;
  int max_depth = 200;        // nested expressions, blocks and macro calls
  std::stop_token stop = {};  // ends it with kCancelled
};

// What stands for a text of the caller (a message, a key or a string of a tool) in a rendering.
enum class TextSlot {
  kName,  // a role or a key: compared by templates
  kText,
};
using TextMark = std::function<std::string(std::string_view, TextSlot)>;

}  // namespace inkstone

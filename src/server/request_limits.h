// What one request may hold, all in one place: more is refused with the limit's name before it is copied.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inkstone {

// Values of a JSON text: each list, object, string, number and literal. One takes about a hundred bytes once it is
// read.
constexpr size_t kMaxJsonValues = 262'144;
// Of them, in tools, calls and variables, which a template turns into objects of its own (about 400 bytes each).
constexpr size_t kMaxTemplateValues = 32'768;
constexpr size_t kMaxMessages = 8'192;
constexpr size_t kMaxTools = 1'024;

constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 4'096;  // of one
constexpr size_t kMaxStopTokens = 256;
constexpr size_t kMaxPrompts = 64;
constexpr int64_t kMaxChoices = 8;

// Bytes of a body from which on requests are prepared one after another.
constexpr size_t kHeavyBody = 64 << 10;
// Bytes that /tokenize and /detokenize may answer with, and that a text to be tokenized may have.
constexpr size_t kMaxAnswerBytes = 4 << 20;
constexpr size_t kMaxTokenizeBytes = 512 << 10;

}  // namespace inkstone

// GPT-2's byte alphabet: each byte is written as one printable character in vocabulary files.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace inkstone {

// The bytes that a vocabulary text stands for; nullopt when a character lies outside the alphabet (or is not UTF-8).
std::optional<std::string> BytesFromAlphabet(std::string_view text);
// The vocabulary text of bytes.
std::string AlphabetFromBytes(std::string_view bytes);

}  // namespace inkstone

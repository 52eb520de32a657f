// Character data behind unicode.h. The Unicode versions are those of the reference (Hugging Face `tokenizers`), part by
// part, and not those of a library on this machine: a token boundary must not move with a system update.
#pragma once

#include <cstdint>
#include <vector>

namespace inkstone::unicode {

struct Range {
  char32_t first;
  char32_t last;  // inclusive
};
struct ClassRange {
  char32_t first;
  char32_t last;  // inclusive
  uint8_t combining_class;
};
struct Composition {
  char32_t first;
  char32_t second;
  char32_t composed;
};
struct Decomposition {
  char32_t composed;
  char32_t first;
  char32_t second;  // 0 for a singleton
};

const std::vector<Range>& Letters();   // \p{L}
const std::vector<Range>& Numbers();   // \p{N}
const std::vector<Range>& Spaces();    // \s
const std::vector<Range>& Numerics();  // what the Digits pre-tokenizer splits off
const std::vector<Range>& Words();     // \w beside a single_word token

// Canonical data without Hangul syllables, which follow by arithmetic (Unicode, section 3.12).
const std::vector<ClassRange>& CombiningClasses();   // ascending; everything else has class 0
const std::vector<Composition>& Compositions();      // primary composites, ascending by (first, second)
const std::vector<Decomposition>& Decompositions();  // characters that NFC never keeps, ascending

}  // namespace inkstone::unicode

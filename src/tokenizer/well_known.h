// Control tokens that many models share, known by their text. Internal to this layer.
#pragma once

#include <string_view>

#include "tokenizer/tokenizer_parts.h"

namespace inkstone {

enum class WellKnown {
  kNone,
  kEnd,   // ends a turn or a text: a generation must not run over it
  kRole,  // opens a turn or a text, or names who speaks
  kTag,   // marks a part of an answer; people may read and write it
};
WellKnown WellKnownKind(std::string_view text);

// Makes ends and roles special tokens, whatever the file says of them, and ends stop tokens. A text that the merges can
// build is an ordinary word and stays one.
void MarkWellKnown(TokenizerParts* parts);

}  // namespace inkstone

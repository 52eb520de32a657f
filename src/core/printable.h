// Text of others (files, requests, models) made safe to show on a terminal and to keep in a log.
#pragma once

#include <string>
#include <string_view>

namespace inkstone {

enum class TextShape {
  kLine,  // line breaks and tabs are escaped too
  kText,  // they stay
};

// Escapes what moves the cursor, begins a command of the terminal, or turns the direction of writing: control
// characters of ASCII as \n, \t or \x1b, those of C1, line separators and bidirectional controls as \u{202e}, bytes
// that are not UTF-8 as \xff.
std::string Printable(std::string_view text, TextShape shape = TextShape::kLine);

}  // namespace inkstone

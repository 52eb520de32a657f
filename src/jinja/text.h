// Python's view of text on UTF-8 strings: code points, white space, case. Ill-formed bytes count as one code point
// each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace inkstone::jinja {

// Bytes of the code point at `pos` (at least 1).
size_t CodePointBytes(std::string_view s, size_t pos);
// The code point at `pos`; an ill-formed byte is 0xDC00 + byte, as Python's surrogateescape reads it.
int32_t CodePointAt(std::string_view s, size_t pos);
void AppendUtf8(int32_t code_point, std::string* out);
int64_t CodePoints(std::string_view s);
// Byte offset of code point `index` (the size when past the end). `length` is CodePoints(s).
size_t ByteOffset(std::string_view s, int64_t length, int64_t index);

bool IsSpace(int32_t code_point);      // str.isspace
bool IsLineBreak(int32_t code_point);  // what str.splitlines splits at
bool IsPrintable(int32_t code_point);  // repr shows it as itself
bool IsAlpha(int32_t code_point);
bool IsDecimal(int32_t code_point);
bool IsDigit(int32_t code_point);
bool IsNumeric(int32_t code_point);
bool IsUpper(int32_t code_point);
bool IsLower(int32_t code_point);
bool IsTitle(int32_t code_point);

std::string Upper(std::string_view s);
std::string Lower(std::string_view s);
std::string CaseFold(std::string_view s);
std::string SwapCase(std::string_view s);
std::string TitleCase(std::string_view s);  // str.title
std::string Capitalize(std::string_view s);

// As std::string_view's find and rfind, in linear time for every text: those take the product of both sizes.
size_t FindText(std::string_view s, std::string_view needle, size_t from = 0);
size_t FindLastText(std::string_view s, std::string_view needle);
int64_t CountText(std::string_view s, std::string_view needle);  // without overlaps; `needle` is not empty

enum class Side { kBoth, kLeft, kRight };
std::string_view StripSpace(std::string_view s, Side side);
std::string_view StripChars(std::string_view s, std::string_view chars, Side side);
std::vector<std::string_view> SplitLines(std::string_view s, bool keep_ends);
// str.split / str.rsplit at white space; max_split < 0: no limit.
std::vector<std::string_view> SplitSpace(std::string_view s, int64_t max_split, bool from_right);
// `separator` is not empty.
std::vector<std::string_view> SplitAt(std::string_view s, std::string_view separator, int64_t max_split,
                                      bool from_right);

}  // namespace inkstone::jinja

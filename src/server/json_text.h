// Looks at JSON text before it is read: whether it is JSON, where it is not, and how much it would become.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace inkstone {

struct JsonScan {
  std::string error = {};   // empty: valid JSON. "syntax error at line 2, column 7"
  size_t values = 0;        // lists, objects, strings, numbers and literals
  bool too_many = false;    // more than were allowed; `error` names the limit
  bool surrogates = false;  // the error may be an escape of half a character
  bool ok() const { return error.empty(); }
};

// At most kMaxJsonDepth levels. Allocates nothing that grows with the text.
JsonScan ScanJson(std::string_view text, size_t max_values);

// The text with \ufffd in the place of each escape of a surrogate that has no other half.
std::string RepairSurrogates(std::string_view text);

}  // namespace inkstone

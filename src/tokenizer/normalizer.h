// Unicode normalization form C.
#pragma once

#include <string>
#include <string_view>

namespace inkstone {

// The text itself when it is NFC already (found by one pass, fast on ASCII), else a view of `buffer`, which then holds
// its NFC. `text` is valid UTF-8. O(n log n) for every input.
std::string_view NormalizeNfc(std::string_view text, std::string* buffer);

}  // namespace inkstone

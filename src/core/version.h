// The program's version, one place for --version, /props and the files that it writes.
#pragma once

namespace inkstone {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace inkstone

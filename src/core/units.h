// Human-readable sizes, both ways.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"

namespace inkstone {

// "4.28 GB", "312 MB": decimal units, three significant digits.
std::string FormatBytes(uint64_t bytes);

// "2.4GiB", "512MB", "1.5g" (decimal), "1000": bytes. Error: kInvalidArgument.
Result<uint64_t> ParseBytes(std::string_view text);

// "200ms", "60s", "1.5m", "2h", "30": seconds. Error: kInvalidArgument.
Result<double> ParseDuration(std::string_view text);

// "1:23:45" or "2:05".
std::string FormatDuration(double seconds);

}  // namespace inkstone

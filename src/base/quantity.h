// Quantities as people write and read them: sizes, durations, rates. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace loci {

// "512 B", "1.50 KiB", "14.2 MiB": three significant digits, powers of 1024.
std::string format_bytes(uint64_t bytes);
// "0.42 s", "12.3 s", "3:05", "2:10:00". Negative and unknown (NaN, infinite) durations are "--".
std::string format_duration(double seconds);
// Three significant digits: "0.123", "4.56", "78.9", "1234".
std::string format_number(double value);

// "4G", "512M", "1.5g", "4GiB", "1000000": powers of 1024 (so are "4GB" and "4g"), digits alone are bytes.
// kInvalidArgument if `text` is anything else, is negative, or needs more than 63 bits.
Result<uint64_t> parse_bytes(std::string_view text);

}  // namespace loci

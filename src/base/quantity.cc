#include "base/quantity.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

namespace loci {
namespace {

constexpr std::array<std::string_view, 7> kByteUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

Error bad_size(std::string_view text) {
  return fail(ErrorCode::kInvalidArgument,
              "'{}' is not a size: write a number of bytes or one with K, M, G or T, such as 512M or 4G", text);
}

// The power of 1024 that a suffix stands for; -1 if it is none.
int power_of_suffix(std::string_view suffix) {
  if (suffix.empty()) return 0;
  std::string lower;
  for (const char c : suffix) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower == "b") return 0;
  const size_t power = std::string_view("kmgt").find(lower[0]);
  if (power == std::string_view::npos) return -1;
  const std::string_view rest = std::string_view(lower).substr(1);
  return rest.empty() || rest == "b" || rest == "ib" ? static_cast<int>(power) + 1 : -1;
}

}  // namespace

std::string format_number(double value) {
  const double magnitude = std::fabs(value);
  if (!std::isfinite(value)) return "--";
  if (magnitude >= 99.95) return fmt::format("{:.0f}", value);
  if (magnitude >= 9.995) return fmt::format("{:.1f}", value);
  if (magnitude >= 0.9995) return fmt::format("{:.2f}", value);
  return fmt::format("{:.3f}", value);
}

std::string format_bytes(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 1023.5 would print as "1024": the next unit reads better.
  while (value >= 1023.5 && unit + 1 < kByteUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{} {}", format_number(value), kByteUnits[unit]);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "--";
  if (seconds < 9.995) return fmt::format("{:.2f} s", seconds);
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  if (seconds > 1e9) return "--";
  const uint64_t whole = static_cast<uint64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

Result<uint64_t> parse_bytes(std::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && (std::isdigit(static_cast<unsigned char>(text[digits])) || text[digits] == '.'))
    ++digits;
  const int power = power_of_suffix(text.substr(digits));
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, value);
  if (digits == 0 || power < 0 || error != std::errc() || end != text.data() + digits) return bad_size(text);
  const double bytes = std::ldexp(value, 10 * power);
  if (bytes >= 0x1p63) return fail(ErrorCode::kInvalidArgument, "'{}' is more than 8 EiB", text);
  return static_cast<uint64_t>(bytes);
}

}  // namespace loci

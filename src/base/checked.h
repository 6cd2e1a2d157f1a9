// Arithmetic on sizes that come from files and requests: overflow is an empty optional, never a wrapped number.
#pragma once

#include <concepts>
#include <cstddef>
#include <optional>

namespace loci {

template <std::integral T>
constexpr std::optional<T> checked_add(T a, T b) {
  T out;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral T>
constexpr std::optional<T> checked_mul(T a, T b) {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

// Smallest multiple of `step` that is >= n. For our own sizes; use checked arithmetic before it for foreign ones.
constexpr size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }
constexpr size_t div_up(size_t n, size_t d) { return (n + d - 1) / d; }

}  // namespace loci

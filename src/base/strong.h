// Integers that do not mix: Strong<struct SlotTag> and Strong<struct PosTag> have no conversion between them.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace loci {

template <typename Tag, typename T = uint32_t>
struct Strong {
  T value{};

  constexpr Strong() = default;
  constexpr explicit Strong(T v) : value(v) {}
  constexpr auto operator<=>(const Strong&) const = default;
  constexpr Strong& operator++() {
    ++value;
    return *this;
  }
};

// id + n and id - n stay ids; id - id is a distance.
template <typename Tag, typename T>
constexpr Strong<Tag, T> operator+(Strong<Tag, T> a, T n) {
  return Strong<Tag, T>(static_cast<T>(a.value + n));
}
template <typename Tag, typename T>
constexpr Strong<Tag, T> operator-(Strong<Tag, T> a, T n) {
  return Strong<Tag, T>(static_cast<T>(a.value - n));
}
template <typename Tag, typename T>
constexpr T operator-(Strong<Tag, T> a, Strong<Tag, T> b) {
  return static_cast<T>(a.value - b.value);
}

}  // namespace loci

template <typename Tag, typename T>
struct std::hash<loci::Strong<Tag, T>> {
  size_t operator()(loci::Strong<Tag, T> id) const noexcept { return std::hash<T>{}(id.value); }
};

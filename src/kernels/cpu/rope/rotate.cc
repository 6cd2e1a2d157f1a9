#include "kernels/cpu/rope/rotate.h"

#include <cmath>

namespace loci {
namespace detail {
namespace {

inline void rotate_pair(float& a, float& b, float c, float s) {
  const float x = a, y = b;
  a = std::fma(x, c, -(y * s));
  b = std::fma(y, c, x * s);
}

}  // namespace

void rotate_adjacent_scalar(float* head, const float* cosines, const float* sines, size_t half) {
  for (size_t i = 0; i < half; ++i) rotate_pair(head[2 * i], head[2 * i + 1], cosines[i], sines[i]);
}

void rotate_halves_scalar(float* head, const float* cosines, const float* sines, size_t half) {
  for (size_t i = 0; i < half; ++i) rotate_pair(head[i], head[i + half], cosines[i], sines[i]);
}

}  // namespace detail

RotateHead rotate_adjacent(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return detail::rotate_adjacent_avx512;
  if (isa == Isa::kAvx2) return detail::rotate_adjacent_avx2;
#endif
  (void)isa;
  return detail::rotate_adjacent_scalar;
}

RotateHead rotate_halves(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return detail::rotate_halves_avx512;
  if (isa == Isa::kAvx2) return detail::rotate_halves_avx2;
#endif
  (void)isa;
  return detail::rotate_halves_scalar;
}

}  // namespace loci

#include "kernels/cpu/math/exp_avx2.h"

#include <algorithm>

#include "kernels/cpu/math/exp.h"

namespace loci::detail {

void exp_row_avx2(const float* x, size_t count, float* out) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) _mm256_storeu_ps(out + i, exp_avx2(_mm256_loadu_ps(x + i)));
  if (i == count) return;
  float tail[8] = {};
  std::copy(x + i, x + count, tail);
  _mm256_storeu_ps(tail, exp_avx2(_mm256_loadu_ps(tail)));
  std::copy(tail, tail + (count - i), out + i);
}

}  // namespace loci::detail

#include "attention/primitives/pool.h"

#include <algorithm>

#include "kernels/cpu/select/select_kernels.h"

namespace loci {
namespace {

// One element whose window reaches over a border: the chain of the loop inside, over the elements that exist.
float pool_at(const float* x, uint32_t length, uint32_t at, uint32_t half, Pooling pooling) {
  const uint32_t first = at >= half ? at - half : 0;
  const uint32_t last = std::min(uint64_t{at} + half, uint64_t{length} - 1);
  float all = x[first];
  for (uint32_t i = first + 1; i <= last; ++i) all = pooling == Pooling::kMax ? std::max(all, x[i]) : all + x[i];
  return all;
}

float block_sum(const float* x, size_t count) {
  float lanes[16] = {};
  for (size_t i = 0; i < count; ++i) lanes[i % 16] += x[i];
  for (size_t n = 8; n > 0; n /= 2) {
    for (size_t i = 0; i < n; ++i) lanes[i] += lanes[i + n];
  }
  return lanes[0];
}

}  // namespace

void pool_window(OpContext& context, const Rows& x, uint32_t width, Pooling pooling, Rows out, Lengths lengths) {
  LOCI_ASSERT(width % 2 == 1, "a pooling window has a middle");
  LOCI_ASSERT(out.rows == x.rows && out.width == x.width, "pooling over neighbours keeps the shape");
  const SelectKernels& kernels = select_kernels(context.isa);
  const uint32_t half = width / 2;
  context.pool.parallel_for(x.rows, [&](size_t r, int) {
    const float* row = x.row(r);
    float* to = out.data + r * out.stride;
    const uint32_t length = length_of(lengths, r, x.width);
    const uint32_t inside = length >= width ? length - width + 1 : 0;
    const auto window = pooling == Pooling::kMax ? kernels.window_max : kernels.window_sum;
    if (inside > 0) window(row, inside, width, to + half);
    for (uint32_t i = 0; i < length; ++i) {
      if (i == half && inside > 0) i += inside;
      if (i < length) to[i] = pool_at(row, length, i, half, pooling);
    }
    if (pooling == Pooling::kMean) kernels.scale(to, length, 1.0F / static_cast<float>(width));
    std::fill(to + length, to + out.width, 0.0F);
  });
}

void pool_rows(OpContext& context, const Rows& x, uint32_t group, Pooling pooling, Rows out, Lengths lengths) {
  LOCI_ASSERT(group > 0 && x.rows == out.rows * group && x.width == out.width, "rows come in whole groups");
  const SelectKernels& kernels = select_kernels(context.isa);
  context.pool.parallel_for(out.rows, [&](size_t r, int) {
    float* to = out.data + r * out.stride;
    const uint32_t length = length_of(lengths, r, out.width);
    std::copy_n(x.row(r * group), length, to);
    const auto join = pooling == Pooling::kMax ? kernels.maximum : kernels.add;
    for (uint32_t g = 1; g < group; ++g) join(x.row(r * group + g), length, to);
    if (pooling == Pooling::kMean) kernels.scale(to, length, 1.0F / static_cast<float>(group));
    std::fill(to + length, to + out.width, 0.0F);
  });
}

void pool_blocks(OpContext& context, const Rows& x, uint32_t block, Pooling pooling, Rows out, Lengths lengths) {
  LOCI_ASSERT(block > 0 && out.rows == x.rows, "blocks are not empty");
  LOCI_ASSERT(out.width >= (uint64_t{x.width} + block - 1) / block, "there is room for every block");
  const SelectKernels& kernels = select_kernels(context.isa);
  context.pool.parallel_for(x.rows, [&](size_t r, int) {
    const uint32_t length = length_of(lengths, r, x.width);
    float* to = out.data + r * out.stride;
    uint32_t b = 0;
    for (uint32_t first = 0; first < length; first += std::min(block, length - first), ++b) {
      const uint32_t count = std::min(block, length - first);
      const float* from = x.row(r) + first;
      to[b] = pooling == Pooling::kMax ? kernels.largest(from, count) : block_sum(from, count);
      if (pooling == Pooling::kMean) to[b] *= 1.0F / static_cast<float>(count);
    }
    std::fill(to + b, to + out.width, 0.0F);
  });
}

}  // namespace loci

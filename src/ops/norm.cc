#include "ops/norm.h"

#include "kernels/cpu/norm/rms_norm.h"
#include "ops/row_loop.h"

namespace loci {

void rms_norm(OpContext& context, const Rows& x, std::span<const float> weight, float eps, Rows out) {
  LOCI_ASSERT(x.rows == out.rows && x.width == out.width && weight.size() == x.width, "rms_norm keeps the shape");
  const RmsNormRow norm = rms_norm_row(context.isa);
  for_each_row(context, x.rows, x.width,
               [&](size_t row) { norm(x.row(row), weight.data(), eps, x.width, out.row(row)); });
}

}  // namespace loci

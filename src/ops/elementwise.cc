#include "ops/elementwise.h"

#include "kernels/cpu/activation/gated.h"
#include "ops/row_loop.h"

namespace loci {
namespace {

constexpr size_t kCostOfExp = 4;  // times that of moving a number

void gated(OpContext& context, GatedRow kernel, const Rows& gate, const Rows& up, Rows out) {
  LOCI_ASSERT(gate.rows == up.rows && gate.rows == out.rows && gate.width == up.width && gate.width == out.width,
              "gate, up and out have one shape");
  for_each_row(context, gate.rows, gate.width * kCostOfExp,
               [&](size_t row) { kernel(gate.row(row), up.row(row), gate.width, out.row(row)); });
}

}  // namespace

void silu_mul(OpContext& context, const Rows& gate, const Rows& up, Rows out) {
  gated(context, silu_mul_row(context.isa), gate, up, out);
}

void gelu_tanh_mul(OpContext& context, const Rows& gate, const Rows& up, Rows out) {
  gated(context, gelu_tanh_mul_row(context.isa), gate, up, out);
}

void add(OpContext& context, Rows x, const Rows& y) {
  LOCI_ASSERT(x.rows == y.rows && x.width == y.width, "rows of one shape are added");
  for_each_row(context, x.rows, x.width, [&](size_t row) {
    float* to = x.row(row);
    const float* from = y.row(row);
    for (size_t i = 0; i < x.width; ++i) to[i] += from[i];
  });
}

void scale(OpContext& context, Rows x, float factor) {
  for_each_row(context, x.rows, x.width, [&](size_t row) {
    for (float& v : x.span(row)) v *= factor;
  });
}

void add_bias(OpContext& context, Rows x, std::span<const float> bias) {
  LOCI_ASSERT(x.width == bias.size(), "one bias per column");
  for_each_row(context, x.rows, x.width, [&](size_t row) {
    float* to = x.row(row);
    for (size_t i = 0; i < x.width; ++i) to[i] += bias[i];
  });
}

}  // namespace loci

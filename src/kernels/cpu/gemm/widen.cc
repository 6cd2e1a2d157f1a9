#include "kernels/cpu/gemm/widen.h"

namespace loci {

std::optional<WeightLayout> wider_layout(WeightLayout layout) {
  if (layout == WeightLayout::kW4) return WeightLayout::kW8;
  if (layout == WeightLayout::kW4m) return WeightLayout::kW8m;
  if (info(layout).exact && info(layout).bits == 4) return WeightLayout::kW8Row;
  return std::nullopt;
}

#if defined(__x86_64__)
namespace {

WidenPanels widen_avx512(WeightLayout layout) {
  if (layout == WeightLayout::kW4) return detail::widen_w4_avx512;
  if (layout == WeightLayout::kW4m) return detail::widen_w4m_avx512;
  if (layout == WeightLayout::kW4Row) return detail::widen_w4_row_avx512;
  return detail::widen_steps_avx512(layout);
}

}  // namespace
#endif

std::optional<Widening> widening(WeightLayout layout, Isa isa) {
#if defined(__x86_64__)
  const std::optional<WeightLayout> to = wider_layout(layout);
  // Exact products unpack nibbles beside their dot products and read half as much of the second cache level.
  const bool faster = isa == Isa::kAmx || !info(layout).exact;
  if (isa >= Isa::kAvx512 && to && faster) return Widening{*to, widen_avx512(layout)};
#endif
  (void)layout;
  (void)isa;
  return std::nullopt;
}

}  // namespace loci

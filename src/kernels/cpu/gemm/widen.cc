#include "kernels/cpu/gemm/widen.h"

namespace loci {

std::optional<WeightLayout> wider_layout(WeightLayout layout) {
  if (layout == WeightLayout::kW4) return WeightLayout::kW8;
  if (layout == WeightLayout::kW4m) return WeightLayout::kW8m;
  return std::nullopt;
}

std::optional<Widening> widening(WeightLayout layout, Isa isa) {
#if defined(__x86_64__)
  const std::optional<WeightLayout> to = wider_layout(layout);
  if (isa == Isa::kAvx512 && to) {
    return Widening{*to, layout == WeightLayout::kW4 ? detail::widen_w4_avx512 : detail::widen_w4m_avx512};
  }
#endif
  (void)layout;
  (void)isa;
  return std::nullopt;
}

}  // namespace loci

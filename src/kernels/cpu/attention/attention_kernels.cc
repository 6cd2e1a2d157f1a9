#include "kernels/cpu/attention/attention_kernels.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/attention/fold_kernels.h"

namespace loci {
namespace {

const Fp32Kernels& fp32_kernels(Isa isa) {
  switch (isa) {
    case Isa::kAmx:
    case Isa::kAvx512:
      return kAttentionAvx512;
    case Isa::kAvx2:
      return kAttentionAvx2;
    case Isa::kScalar:
      break;
  }
  return kAttentionScalar;
}

}  // namespace

const ReadKernel& read_kernel(Isa isa, KvCodec codec, ReadPhase phase, ReadPrecision precision) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512 && precision == ReadPrecision::kFast) {
    const bool decode = phase == ReadPhase::kDecode;
    switch (codec) {
      case KvCodec::kKv16:
        if (decode) break;
        if (isa == Isa::kAmx) return kAttentionAmx;
        if (cpu_info().fast_bf16) return kAttentionBf16Avx512;
        break;
      case KvCodec::kKv8:
        if (decode) return kAttentionKv8Avx512;
        if (isa == Isa::kAmx) return kAttentionKv8Amx;
        if (cpu_info().fast_bf16) return kAttentionKv8Bf16Avx512;
        break;
      case KvCodec::kKv4:
        if (decode) return kAttentionKv4Avx512;
        if (isa == Isa::kAmx) return kAttentionKv4Amx;
        if (cpu_info().fast_bf16) return kAttentionKv4Bf16Avx512;
        break;
    }
  }
  if (isa == Isa::kAvx2 && precision == ReadPrecision::kFast) {
    if (phase == ReadPhase::kPrompt) return kAttentionWordsAvx2;
    if (codec == KvCodec::kKv8) return kAttentionKv8Avx2;
    if (codec == KvCodec::kKv4) return kAttentionKv4Avx2;
  }
#endif
  const Fp32Kernels& kernels = fp32_kernels(isa);
  return phase == ReadPhase::kDecode && codec == KvCodec::kKv16 ? kernels.halves : kernels.tile;
}

MergeStates merge_states(Isa isa) { return fp32_kernels(isa).merge; }

void clear(SoftmaxState state, size_t rows, size_t dim) {
  std::fill_n(state.m, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(state.l, rows, 0.0F);
  std::fill_n(state.o, rows * dim, 0.0F);
}

}  // namespace loci

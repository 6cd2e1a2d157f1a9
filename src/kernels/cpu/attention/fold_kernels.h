// The attention kernels of each instruction set; read_kernel() chooses.
#pragma once

#include "kernels/cpu/attention/attention_kernels.h"

namespace loci {

// What an instruction set offers in fp32.
struct Fp32Kernels {
  ReadKernel tile;    // any codec: the page is decoded to fp32
  ReadKernel halves;  // kv16 read in place; the same bits
  MergeStates merge;
};

// Calls fold<R>(row) for rows in runs of four, then for the one to three that are left.
template <typename FoldRows>
inline void fold_by_fours(size_t rows, const FoldRows& fold) {
  size_t row = 0;
  for (; row + 4 <= rows; row += 4) fold.template operator()<4>(row);
  if (rows - row == 3) fold.template operator()<3>(row);
  if (rows - row == 2) fold.template operator()<2>(row);
  if (rows - row == 1) fold.template operator()<1>(row);
}

extern const Fp32Kernels kAttentionScalar;
extern const Fp32Kernels kAttentionAvx2;
extern const Fp32Kernels kAttentionAvx512;

// Prompt tiles. Need AVX512_BF16.
extern const ReadKernel kAttentionBf16Avx512;  // kv16
extern const ReadKernel kAttentionKv8Bf16Avx512;
extern const ReadKernel kAttentionKv4Bf16Avx512;
// The same in tiles of the matrix unit. Need AMX_BF16 and AVX512_BF16.
extern const ReadKernel kAttentionAmx;  // kv16
extern const ReadKernel kAttentionKv8Amx;
extern const ReadKernel kAttentionKv4Amx;
// Prompt tiles in 16-bit integers, of any codec.
extern const ReadKernel kAttentionWordsAvx2;
// Decode steps on the codes. AVX-512's need AVX512_VNNI.
extern const ReadKernel kAttentionKv8Avx512;
extern const ReadKernel kAttentionKv4Avx512;
extern const ReadKernel kAttentionKv8Avx2;
extern const ReadKernel kAttentionKv4Avx2;

}  // namespace loci

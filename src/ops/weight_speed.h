// How fast the matrix products of each stored type run on this machine: for `loci doctor --measure`.
//
// A type reads one matrix that no cache holds with one row (decode: bytes count as they are in the file, so a type that
// is packed wider than it is stored shows it) and multiplies it with many rows (prefill). The best of several passes
// counts. Takes about half a second and a few hundred megabytes for each type.
#pragma once

#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "base/threads.h"
#include "kernels/cpu/gemm/layout.h"
#include "tensor/dtype.h"

namespace loci {

struct WeightSpeed {
  DType dtype;
  WeightLayout layout;
  double stored_bits = 0;              // of a weight in the file
  double packed_bits = 0;              // and in memory, which is what a decode step reads
  double decode_bytes_per_second = 0;  // of the file's bytes
  double prefill_macs_per_second = 0;
};

struct WeightSpeedOptions {
  size_t stored_bytes = size_t{128} << 20;  // of a matrix: no cache holds it
  uint32_t prefill_rows = 96;
  int passes = 5;
};

// Every type of the readers, in the order of all_dtypes(). kLimit if memory is short.
Result<std::vector<WeightSpeed>> measure_weights(ThreadPool& pool, Isa isa, const WeightSpeedOptions& options = {});

// A type is slow if it reads less than half as many bytes a second as Q4_1 does.
bool is_slow(const WeightSpeed& speed, const std::vector<WeightSpeed>& all);

}  // namespace loci

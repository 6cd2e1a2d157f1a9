// What this machine can do at best, measured: the denominators of every speed that Loci prints.
//
// Three loops that do nothing else, on all workers of a pool: reading memory that no cache holds, int8 dot products and
// fp32 multiply-adds in registers. Takes about a second and `buffer_bytes` of memory. The best of several passes
// counts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "base/error.h"
#include "base/threads.h"

namespace loci {

struct Roof {
  double read_bytes_per_second = 0;
  double int8_macs_per_second = 0;  // multiply-accumulates of 8-bit integers into 32 bits
  double f32_macs_per_second = 0;
};

struct RoofOptions {
  size_t buffer_bytes = size_t{512} << 20;  // far more than any cache
  double seconds_per_loop = 0.2;
};

// kLimit if the buffer cannot be allocated; kInvalidArgument if this machine lacks `isa`.
Result<Roof> measure_roof(ThreadPool& pool, Isa isa, const RoofOptions& options = {});

// The loops of one instruction set. Each returns a number that depends on all its work, so that no compiler may drop
// it.
struct RoofKernels {
  // Reads data[0, bytes), a multiple of kRoofReadStep.
  uint64_t (*read)(const std::byte* data, size_t bytes);
  // `rounds` times int8_macs_per_round multiply-accumulates.
  uint64_t (*int8_dots)(size_t rounds, uint64_t seed);
  uint64_t int8_macs_per_round;
  uint64_t (*f32_macs)(size_t rounds, uint64_t seed);
  uint64_t f32_macs_per_round;
};

inline constexpr size_t kRoofReadStep = 4096;

RoofKernels roof_kernels_scalar();
RoofKernels roof_kernels_avx2();
RoofKernels roof_kernels_avx512();
RoofKernels roof_kernels(Isa isa);

}  // namespace loci

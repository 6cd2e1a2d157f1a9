// What this machine can do at best, measured: the denominators of every speed that Loci prints.
//
// Loops that do nothing else, on all workers of a pool: reading memory that no cache holds, and, in registers, int8 dot
// products, fp32 multiply-adds and products of bfloat16 or 16-bit integers. Takes about two seconds and `buffer_bytes`
// of memory. The best of many short passes counts, since other work on the machine can only slow one down.
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
  double bf16_macs_per_second = 0;              // into fp32; 0 where no kernel uses them
  double int16_macs_per_second = 0;             // into 32 bits; 0 where no kernel uses them
  double read_one_thread_bytes_per_second = 0;  // the caller alone

  // Of the arithmetic that multiplies the queries of prompts.
  double attention_macs_per_second() const {
    return bf16_macs_per_second > 0    ? bf16_macs_per_second
           : int16_macs_per_second > 0 ? int16_macs_per_second
                                       : f32_macs_per_second;
  }
};

struct RoofOptions {
  size_t buffer_bytes = size_t{512} << 20;  // far more than any cache
  double seconds_per_loop = 0.3;
};

// kLimit if the buffer cannot be allocated; kInvalidArgument if this machine lacks `isa`.
Result<Roof> measure_roof(ThreadPool& pool, Isa isa, const RoofOptions& options = {});
// Bytes per second of the reading loop alone, on all workers.
Result<double> measure_reads(ThreadPool& pool, Isa isa, const RoofOptions& options = {});

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
  // Null where no kernel of the instruction set on this machine uses bfloat16 products.
  uint64_t (*bf16_macs)(size_t rounds, uint64_t seed) = nullptr;
  uint64_t bf16_macs_per_round = 0;
  // The same of 16-bit integers.
  uint64_t (*int16_macs)(size_t rounds, uint64_t seed) = nullptr;
  uint64_t int16_macs_per_round = 0;
};

inline constexpr size_t kRoofReadStep = 4096;

RoofKernels roof_kernels_scalar();
RoofKernels roof_kernels_avx2();
RoofKernels roof_kernels_avx512();
RoofKernels roof_kernels(Isa isa);

namespace detail {
void add_bf16_avx512(RoofKernels& kernels);
void add_tiles_amx(RoofKernels& kernels);
}  // namespace detail

}  // namespace loci

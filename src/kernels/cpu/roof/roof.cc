#include "kernels/cpu/roof/roof.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "base/memory.h"

namespace loci {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kReadChunk = size_t{1} << 20;
constexpr size_t kChunksPerWorker = 16;  // small enough that a worker that wakes late costs little
constexpr int kMinPasses = 3;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The most work per second of repeated calls of pass(), which returns the work it did, for about `seconds`.
template <typename Pass>
double best_rate(double seconds, Pass&& pass) {
  double best = 0;
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < kMinPasses || seconds_since(begin) < seconds; ++i) {
    const Clock::time_point start = Clock::now();
    const double work = pass();
    best = std::max(best, work / seconds_since(start));
  }
  return best;
}

// Rounds that take one worker about `seconds`.
size_t calibrate_rounds(uint64_t (*loop)(size_t, uint64_t), double seconds, std::atomic<uint64_t>& sink) {
  size_t rounds = 256;
  for (;;) {
    const Clock::time_point start = Clock::now();
    sink += loop(rounds, rounds);
    const double took = seconds_since(start);
    if (took >= seconds || rounds >= size_t{1} << 40) return rounds;
    rounds *= 2;
  }
}

double compute_rate(ThreadPool& pool, double seconds, uint64_t (*loop)(size_t, uint64_t), uint64_t macs_per_round,
                    std::atomic<uint64_t>& sink) {
  const size_t rounds = calibrate_rounds(loop, 0.0005, sink);
  const size_t chunks = static_cast<size_t>(pool.size()) * kChunksPerWorker;
  return best_rate(seconds, [&] {
    pool.parallel_for(chunks, [&](size_t i, int) { sink += loop(rounds, i); });
    return static_cast<double>(chunks) * static_cast<double>(rounds) * static_cast<double>(macs_per_round);
  });
}

// Memory that no cache holds, read in chunks.
class ReadLoop {
 public:
  static Result<ReadLoop> make(ThreadPool& pool, const RoofOptions& options) {
    const size_t chunks = std::max<size_t>(1, options.buffer_bytes / kReadChunk);
    LOCI_TRY(Buffer buffer, Buffer::allocate(chunks * kReadChunk));
    // Written first: untouched pages are all one page of zeros.
    pool.parallel_for(chunks, [&](size_t i, int) {
      std::memset(buffer.data() + i * kReadChunk, static_cast<int>(i % 251) + 1, kReadChunk);
    });
    return ReadLoop(std::move(buffer));
  }

  double all_workers(ThreadPool& pool, double seconds, const RoofKernels& kernels, std::atomic<uint64_t>& sink) const {
    return best_rate(seconds, [&] {
      pool.parallel_for(buffer_.size() / kReadChunk, [&](size_t i, int) { sink += read(kernels, i); });
      return static_cast<double>(buffer_.size());
    });
  }
  double one_worker(double seconds, const RoofKernels& kernels, std::atomic<uint64_t>& sink) const {
    return best_rate(seconds, [&] {
      for (size_t i = 0; i < buffer_.size() / kReadChunk; ++i) sink += read(kernels, i);
      return static_cast<double>(buffer_.size());
    });
  }

 private:
  explicit ReadLoop(Buffer buffer) : buffer_(std::move(buffer)) {}
  uint64_t read(const RoofKernels& kernels, size_t chunk) const {
    return kernels.read(buffer_.data() + chunk * kReadChunk, kReadChunk);
  }

  Buffer buffer_;
};

Status check(Isa isa) {
  if (isa <= best_isa()) return {};
  return fail(ErrorCode::kInvalidArgument, "cannot measure with '{}': this processor's best is '{}'", to_string(isa),
              to_string(best_isa()));
}

}  // namespace

RoofKernels roof_kernels(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return roof_kernels_scalar();
    case Isa::kAvx2:
      return roof_kernels_avx2();
    case Isa::kAvx512:
    case Isa::kAmx: {
      RoofKernels kernels = roof_kernels_avx512();
      if (isa == Isa::kAmx) {
        detail::add_tiles_amx(kernels);
      } else if (cpu_info().fast_bf16) {
        detail::add_bf16_avx512(kernels);
      }
      return kernels;
    }
  }
  return roof_kernels_scalar();
}

Result<Roof> measure_roof(ThreadPool& pool, Isa isa, const RoofOptions& options) {
  LOCI_CHECK(check(isa));
  const RoofKernels kernels = roof_kernels(isa);
  const ThreadPool::Step awake(pool);
  std::atomic<uint64_t> sink{0};
  Roof roof;
  {
    LOCI_TRY(const ReadLoop loop, ReadLoop::make(pool, options));
    roof.read_bytes_per_second = loop.all_workers(pool, options.seconds_per_loop, kernels, sink);
    roof.read_one_thread_bytes_per_second =
        pool.size() == 1 ? roof.read_bytes_per_second : loop.one_worker(options.seconds_per_loop, kernels, sink);
  }
  roof.int8_macs_per_second =
      compute_rate(pool, options.seconds_per_loop, kernels.int8_dots, kernels.int8_macs_per_round, sink);
  roof.f32_macs_per_second =
      compute_rate(pool, options.seconds_per_loop, kernels.f32_macs, kernels.f32_macs_per_round, sink);
  if (kernels.bf16_macs != nullptr) {
    roof.bf16_macs_per_second =
        compute_rate(pool, options.seconds_per_loop, kernels.bf16_macs, kernels.bf16_macs_per_round, sink);
  }
  if (kernels.int16_macs != nullptr) {
    roof.int16_macs_per_second =
        compute_rate(pool, options.seconds_per_loop, kernels.int16_macs, kernels.int16_macs_per_round, sink);
  }
  return roof;
}

Result<double> measure_reads(ThreadPool& pool, Isa isa, const RoofOptions& options) {
  LOCI_CHECK(check(isa));
  const ThreadPool::Step awake(pool);
  std::atomic<uint64_t> sink{0};
  LOCI_TRY(const ReadLoop loop, ReadLoop::make(pool, options));
  return loop.all_workers(pool, options.seconds_per_loop, roof_kernels(isa), sink);
}

}  // namespace loci

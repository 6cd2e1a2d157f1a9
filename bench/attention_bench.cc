// The arithmetic of attention by codec, phase and width of heads, beside what the machine can do at best.
//
//   build/cpu/attention_bench --threads=2 --isa=avx512 --benchmark_filter=prompt/kv16
//
// A prompt's tile of 192 rows folds pages again and again that stay in cache: `GMAC/s` counts. A decode step's query
// heads of a group fold pages out of memory, each once: `GB/s` counts. Every thread works for itself, and the best of
// the iterations counts, since other processes share the machine. Shares are of the measured peak of the arithmetic
// that prompts use (bfloat16, with AVX2 16-bit integers, otherwise fp32; decode steps and kernels that multiply codes
// are held against it too) and of the measured read bandwidth.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/kv_codec/kv_codec.h"
#include "kernels/cpu/roof/roof.h"
#include "options.h"

namespace loci {
namespace {

constexpr size_t kTileRows = 192;
constexpr size_t kCachedPages = 8;
constexpr size_t kMemory = size_t{256} << 20;

struct Bench {
  ThreadPool& pool;
  Roof roof;
  Isa isa;
};

struct Case {
  ReadPhase phase;
  KvCodec codec;
  uint32_t head_dim;
  size_t rows;
};

// One worker's rows, state and pages.
class Reader {
 public:
  Reader(const Case& of, const ReadKernel& kernel, size_t pages, uint32_t seed)
      : layout_(page_layout(of.codec, of.head_dim)),
        kernel_(kernel),
        rows_(of.rows),
        count_(pages),
        pages_(*Buffer::allocate(pages * layout_.bytes)),
        queries_(*Buffer::allocate(query_bytes(of.rows, layout_.padded_dim))),
        block_(*Buffer::allocate(block_bytes(layout_.padded_dim))),
        state_(*Buffer::allocate((of.rows * (layout_.padded_dim + 2)) * sizeof(float))),
        scores_(*Buffer::allocate(of.rows * kPageSlots * sizeof(float))) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    std::vector<float> k(of.head_dim), v(of.head_dim), q(layout_.padded_dim);
    for (uint32_t slot = 0; slot < kPageSlots; ++slot) {
      for (float& x : k) x = normal(rng);
      for (float& x : v) x = normal(rng);
      encode_entry(layout_, page(0), slot, k.data(), v.data());
    }
    for (size_t p = 1; p < count_; ++p) std::memcpy(page(p), page(0), layout_.bytes);
    for (size_t row = 0; row < rows_; ++row) {
      for (uint32_t i = 0; i < of.head_dim; ++i) q[i] = normal(rng) / 8;
      kernel.load_query(q.data(), row, rows_, layout_.padded_dim, queries_.data());
    }
    clear(state(), rows_, layout_.padded_dim);
  }

  void fold_all() {
    for (size_t p = 0; p < count_; ++p) {
      if (kernel_.load_block != nullptr) kernel_.load_block(layout_, page(p), block_.data());
      kernel_.fold({.queries = queries_.data(),
                    .rows = rows_,
                    .dim = layout_.padded_dim,
                    .layout = &layout_,
                    .page = page(p),
                    .next_page = page((p + 1) % count_),
                    .block = block_.data(),
                    .visible = nullptr,
                    .scores = reinterpret_cast<float*>(scores_.data()),
                    .state = state()});
    }
  }

  double bytes() const { return static_cast<double>(count_) * layout_.bytes; }
  double macs() const { return 2.0 * static_cast<double>(count_ * kPageSlots * rows_) * layout_.head_dim; }

 private:
  std::byte* page(size_t index) { return pages_.data() + index * layout_.bytes; }
  SoftmaxState state() {
    auto* o = reinterpret_cast<float*>(state_.data());  // first, since kernels like it aligned
    return {o + rows_ * layout_.padded_dim, o + rows_ * (layout_.padded_dim + 1), o};
  }

  PageLayout layout_;
  const ReadKernel& kernel_;
  size_t rows_;
  size_t count_;
  Buffer pages_, queries_, block_, state_, scores_;
};

void run(benchmark::State& state, const Bench& bench, const Case& of) {
  const ReadKernel& kernel = read_kernel(bench.isa, of.codec, of.phase, ReadPrecision::kFast);
  const auto workers = static_cast<size_t>(bench.pool.size());
  const size_t pages =
      of.phase == ReadPhase::kPrompt ? kCachedPages : kMemory / workers / page_layout(of.codec, of.head_dim).bytes;
  std::vector<Reader> readers;
  for (size_t i = 0; i < workers; ++i) readers.emplace_back(of, kernel, pages, static_cast<uint32_t>(i));
  const ThreadPool::Step awake(bench.pool);
  double best = 1e30;
  for (auto _ : state) {
    const double begin = seconds_now();
    bench.pool.parallel_for(workers, [&](size_t i, int) { readers[i].fold_all(); });
    best = std::min(best, seconds_now() - begin);
  }
  const double count = static_cast<double>(workers);
  const double macs = readers[0].macs() * count / best, bytes = readers[0].bytes() * count / best;
  const double peak = bench.roof.attention_macs_per_second();
  state.SetLabel(std::string(kernel.arithmetic));
  state.counters["GMAC/s"] = macs / 1e9;
  state.counters["of_peak_%"] = 100 * macs / peak;
  state.counters["GB/s"] = bytes / 1e9;
  if (of.phase == ReadPhase::kDecode) state.counters["of_read_%"] = 100 * bytes / bench.roof.read_bytes_per_second;
}

int fail_with(const Error& error) {
  std::fprintf(stderr, "%s\n", error.message.c_str());
  return 1;
}

}  // namespace
}  // namespace loci

int main(int argc, char** argv) {
  using namespace loci;
  ThreadPool pool(std::atoi(take_option(argc, argv, "threads", "0").c_str()));
  const Result<Isa> isa = parse_isa(take_option(argc, argv, "isa", "auto"));
  if (!isa.ok()) return fail_with(isa.error());
  const Result<Roof> roof = measure_roof(pool, isa.value());
  if (!roof.ok()) return fail_with(roof.error());
  const Bench bench{pool, roof.value(), isa.value()};
  std::printf("%d threads, %s; roof: read %.1f GB/s, bf16 %.0f GMAC/s, fp32 %.0f GMAC/s\n", pool.size(),
              std::string(to_string(bench.isa)).c_str(), bench.roof.read_bytes_per_second / 1e9,
              bench.roof.bf16_macs_per_second / 1e9, bench.roof.f32_macs_per_second / 1e9);
  for (const ReadPhase phase : {ReadPhase::kPrompt, ReadPhase::kDecode}) {
    for (const KvCodec codec : {KvCodec::kKv16, KvCodec::kKv8, KvCodec::kKv4}) {
      for (const uint32_t head_dim : {64U, 128U, 256U}) {
        // Query heads of a group: three as SmolLM2 has, four as the models with wider heads.
        const Case of{phase, codec, head_dim, phase == ReadPhase::kPrompt ? kTileRows : head_dim == 64 ? 3U : 4U};
        const std::string name = std::string(phase == ReadPhase::kPrompt ? "prompt" : "decode") + "/" +
                                 std::string(to_string(codec)) + "/" + std::to_string(of.rows) + "x" +
                                 std::to_string(head_dim);
        benchmark::RegisterBenchmark(name.c_str(), [=, &bench](benchmark::State& state) {
          run(state, bench, of);
        })->UseRealTime();
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}

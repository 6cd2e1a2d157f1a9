// Matrix products by weight layout and number of rows, beside what the machine can do at best.
//
//   build/cpu/kernels_bench --threads=2 --isa=avx512 --activations=int16 --benchmark_filter=w4m
//
// Every run reports the best of its iterations, since other processes share the machine: `GMAC/s` with its share of the
// measured peak (of int8 dot products, or of fp32 multiply-adds for float layouts), `GB/s` of weights with its share of
// the measured read bandwidth. Matrices of many rows are run again and again and stay in cache; those of one row cycle
// through 256 MB of copies, as a model's layers do.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "kernels/cpu/roof/roof.h"
#include "ops/linear.h"
#include "options.h"

namespace loci {
namespace {

struct Shape {
  uint32_t outputs, columns;
};

DType type_of(WeightLayout layout) {
  for (DType dtype : all_dtypes()) {
    if (layout_of(dtype, true) == layout) return dtype;
  }
  return DType::kF32;
}

// Finite weights: bytes that give every half-precision scale an exponent near 2^-7.
Linear random_linear(WeightLayout layout, Shape shape, Activations activations, ThreadPool& pool) {
  const DType dtype = type_of(layout);
  std::vector<std::byte> bytes(size_t{shape.outputs} * *row_bytes(dtype, shape.columns));
  std::mt19937 rng(1);
  for (std::byte& b : bytes) b = static_cast<std::byte>((rng() & 0x03) | 0x20);
  const Tensor tensor{.name = "w", .dtype = dtype, .shape = {shape.outputs, shape.columns}, .data = bytes};
  std::vector<PackedMatrix> parts;
  parts.push_back(std::move(PackedMatrix::pack(tensor, activations, pool)).value());
  return Linear(std::move(parts), activations);
}

// Rows as models have them: every column has a size of its own, the same in all rows, so that a few stick out.
void fill_activations(std::vector<float>& x, uint32_t columns) {
  std::mt19937 rng(2);
  std::normal_distribution<float> normal;
  std::vector<float> size(columns);
  for (float& v : size) v = std::exp(0.6F * normal(rng));
  for (size_t i = 0; i < x.size(); ++i) x[i] = size[i % columns] * normal(rng);
}

struct Bench {
  ThreadPool& pool;
  Roof roof;
  Isa isa;
  Activations activations;
};

void run(benchmark::State& state, const Bench& bench, WeightLayout layout, Shape shape, uint32_t rows) {
  std::vector<Linear> copies;
  copies.push_back(random_linear(layout, shape, bench.activations, bench.pool));
  const size_t enough = rows <= 32 ? (size_t{256} << 20) / copies[0].bytes() + 1 : 1;
  while (copies.size() < enough) copies.push_back(random_linear(layout, shape, bench.activations, bench.pool));

  Workspace scratch = std::move(Workspace::allocate(copies[0].scratch_bytes(rows, bench.pool.size()))).value();
  OpContext context{bench.pool, bench.isa, scratch};
  std::vector<float> x(size_t{rows} * shape.columns), y(size_t{rows} * shape.outputs);
  fill_activations(x, shape.columns);
  const Rows in{x.data(), rows, shape.columns, shape.columns};
  const Rows out{y.data(), rows, shape.outputs, shape.outputs};

  ThreadPool::Step awake(bench.pool);
  double best = 1e30;
  size_t next = 0;
  for (auto _ : state) {
    // As many products as take a few hundred microseconds, so that handing out work is in proportion.
    const auto start = std::chrono::steady_clock::now();
    const size_t batch = rows <= 32 ? std::min<size_t>(copies.size(), 8) : 1;
    for (size_t i = 0; i < batch; ++i, next = (next + 1) % copies.size()) copies[next].project(context, in, out);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count() / static_cast<double>(batch));
  }
  const double macs = static_cast<double>(copies[0].macs()) * rows / best;
  const double read = static_cast<double>(copies[0].bytes()) / best;
  const bool integer = info(layout).integer;
  state.counters["GMAC/s"] = macs / 1e9;
  state.counters["of_peak_%"] =
      100 * macs / (integer ? bench.roof.int8_macs_per_second : bench.roof.f32_macs_per_second);
  state.counters["GB/s"] = read / 1e9;
  state.counters["of_read_%"] = 100 * read / bench.roof.read_bytes_per_second;
}

}  // namespace
}  // namespace loci

int main(int argc, char** argv) {
  using namespace loci;
  ThreadPool pool(std::atoi(take_option(argc, argv, "threads", "0").c_str()));
  const Result<Isa> isa = parse_isa(take_option(argc, argv, "isa", "auto"));
  if (!isa.ok()) {
    std::fprintf(stderr, "%s\n", isa.error().message.c_str());
    return 2;
  }
  const bool coarse = take_option(argc, argv, "activations", "int16") == "int8";
  const Result<Roof> roof = measure_roof(pool, isa.value());
  if (!roof.ok()) {
    std::fprintf(stderr, "%s\n", roof.error().message.c_str());
    return 1;
  }
  const Bench bench{pool, roof.value(), isa.value(), coarse ? Activations::kInt8 : Activations::kInt16};
  std::printf("%d threads, %s; roof: read %.1f GB/s, int8 %.0f GMAC/s, fp32 %.0f GMAC/s\n", pool.size(),
              std::string(to_string(bench.isa)).c_str(), bench.roof.read_bytes_per_second / 1e9,
              bench.roof.int8_macs_per_second / 1e9, bench.roof.f32_macs_per_second / 1e9);
  for (WeightLayout layout : all_layouts()) {
    const auto add = [&](Shape shape, uint32_t rows) {
      const std::string name = std::string(info(layout).name) + "/" + std::to_string(rows) + "x" +
                               std::to_string(shape.outputs) + "x" + std::to_string(shape.columns);
      benchmark::RegisterBenchmark(name.c_str(), [=, &bench](benchmark::State& state) {
        run(state, bench, layout, shape, rows);
      })->UseRealTime();
    };
    for (uint32_t rows : {1u, 2u, 4u, 8u, 16u}) add({4096, 2048}, rows);
    add({1536, 768}, 1);
    add({1536, 768}, 512);
    add({768, 1536}, 512);
    add({4096, 2048}, 512);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}

#include "ops/weight_speed.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "ops/linear.h"

namespace loci {
namespace {

constexpr uint32_t kColumns = 2048;

// Bytes that are finite weights of every type: scales in half precision get an exponent near 2^-13, steps and zeros lie
// in their ranges.
std::vector<std::byte> plausible_bytes(size_t count) {
  std::vector<std::byte> bytes(count);
  uint32_t x = 1;
  for (std::byte& b : bytes) {
    x = x * 1664525u + 1013904223u;
    b = static_cast<std::byte>(((x >> 24) & 0x03) | 0x08);
  }
  return bytes;
}

// As in models: a tenth of the columns stick out.
void fill_activations(std::vector<float>& x) {
  uint32_t seed = 2;
  for (float& v : x) {
    seed = seed * 1664525u + 1013904223u;
    const float t = static_cast<float>(seed >> 8) * 0x1p-23F - 1;
    v = std::copysign(std::pow(std::fabs(t), 1.3F), t);
  }
}

template <typename Body>
double best_seconds(int passes, Body&& body) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < passes; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  return best;
}

// The time of a product of `rows` rows.
Result<double> product_seconds(const Linear& linear, uint32_t rows, ThreadPool& pool, Isa isa, int passes) {
  const uint32_t outputs = linear.parts()[0].rows();
  LOCI_TRY(Workspace scratch, Workspace::allocate(linear.scratch_bytes(rows, pool.size())));
  OpContext context{pool, isa, scratch};
  std::vector<float> x(size_t{rows} * kColumns), y(size_t{rows} * outputs);
  fill_activations(x);
  const Rows in{x.data(), rows, kColumns, kColumns}, out{y.data(), rows, outputs, outputs};
  const ThreadPool::Step awake(pool);
  return best_seconds(passes, [&] { linear.project(context, in, out); });
}

Result<WeightSpeed> measure(DType dtype, std::span<const std::byte> bytes, ThreadPool& pool, Isa isa,
                            const WeightSpeedOptions& options) {
  const size_t stride = *row_bytes(dtype, kColumns);
  const size_t outputs = std::max<size_t>(1, bytes.size() / stride);
  const Tensor tensor{.name = std::string(info(dtype).name),
                      .dtype = dtype,
                      .shape = {outputs, kColumns},
                      .data = bytes.first(outputs * stride)};
  std::vector<PackedMatrix> parts;
  LOCI_TRY(PackedMatrix matrix, PackedMatrix::pack(tensor, Activations::kInt16, pool));
  parts.push_back(std::move(matrix));
  const Linear linear(std::move(parts), Activations::kInt16);

  WeightSpeed speed{.dtype = dtype, .layout = linear.parts()[0].layout()};
  const auto weights = static_cast<double>(linear.macs());
  speed.stored_bits = 8.0 * static_cast<double>(tensor.data.size()) / weights;
  speed.packed_bits = 8.0 * static_cast<double>(linear.bytes()) / weights;
  LOCI_TRY(const double decode, product_seconds(linear, 1, pool, isa, options.passes));
  LOCI_TRY(const double prefill, product_seconds(linear, options.prefill_rows, pool, isa, (options.passes + 1) / 2));
  speed.decode_bytes_per_second = static_cast<double>(tensor.data.size()) / decode;
  speed.prefill_macs_per_second = weights * options.prefill_rows / prefill;
  return speed;
}

}  // namespace

Result<std::vector<WeightSpeed>> measure_weights(ThreadPool& pool, Isa isa, const WeightSpeedOptions& options) {
  const size_t widest_row = size_t{kColumns} * sizeof(float);
  const std::vector<std::byte> bytes = plausible_bytes(std::max(options.stored_bytes, widest_row));
  std::vector<WeightSpeed> out;
  for (const DType dtype : all_dtypes()) {
    LOCI_TRY(const WeightSpeed speed, measure(dtype, bytes, pool, isa, options));
    out.push_back(speed);
  }
  return out;
}

bool is_slow(const WeightSpeed& speed, const std::vector<WeightSpeed>& all) {
  const auto yardstick =
      std::find_if(all.begin(), all.end(), [](const WeightSpeed& s) { return s.dtype == DType::kQ4_1; });
  return yardstick != all.end() && 2 * speed.decode_bytes_per_second < yardstick->decode_bytes_per_second;
}

}  // namespace loci

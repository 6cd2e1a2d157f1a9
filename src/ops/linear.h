// Matrix products with stored weights: y = W x for every row x.
//
// Weights are repacked when a model loads into few layouts that the kernels like (16 output rows interleaved, so that a
// vector holds 16 outputs and every output is one chain of additions over ascending k). Row r of a product with M rows
// equals the product of row r alone, bit for bit, for every M, on each instruction set.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/error.h"
#include "io/model_file.h"
#include "kernels/cpu/gemm/layout.h"
#include "kernels/cpu/quantize/activations.h"
#include "ops/context.h"
#include "tensor/rows.h"

namespace loci {

enum class Activations {
  kInt8,   // rounded to 8 bits per block of 32 (row-local), integer dot products inside a block
  kInt16,  // up to 16 bits, with a step relative to the row's mean: columns that stick out are multiplied twice
  kF32,    // fp32 activations; every weight decoded to fp32
};

// One stored matrix, packed. Owns its memory.
class PackedMatrix {
 public:
  // Packs `tensor` [rows, columns] in parallel. `packed` (may be empty) is called with file bytes that are done with.
  // The memory comes from `arena` if there is one.
  static Result<PackedMatrix> pack(const Tensor& tensor, Activations activations, ThreadPool& pool,
                                   const std::function<void(std::span<const std::byte>)>& packed = {},
                                   Arena* arena = nullptr);
  // Bytes that pack() will own.
  static uint64_t planned_bytes(DType dtype, uint64_t rows, uint64_t columns, Activations activations);

  uint32_t rows() const { return rows_; }
  uint32_t columns() const { return columns_; }
  uint64_t bytes() const { return data_.size(); }
  WeightLayout layout() const { return layout_; }
  bool exact() const { return info(layout_).exact; }
  // Row `row` as fp32: what the product multiplies with. For token embeddings.
  void unpack_row(uint32_t row, std::span<float> out) const;

  const std::byte* panel(size_t index) const { return data_.data() + index * panel_bytes_; }
  size_t panels() const { return div_up(rows_, kPanelRows); }

 private:
  PackedMatrix() = default;

  WeightLayout layout_ = WeightLayout::kF32;
  uint32_t rows_ = 0;
  uint32_t columns_ = 0;
  size_t panel_bytes_ = 0;
  Buffer data_;
};

// Matrices that multiply the same input: the input is rounded once.
class Linear {
 public:
  Linear() = default;
  // The parts were packed for the same `activations`, all of them in exact layouts or none. Exact ones take whole rows
  // in 8 bits.
  explicit Linear(std::vector<PackedMatrix> parts, Activations activations = Activations::kInt8);

  // For matrices whose outputs are logits: their error is nowhere averaged, and few rows of a prompt reach them.
  void round_finer();

  // out[i] = parts[i] x; x [tokens, columns], out[i] [tokens, parts[i].rows]. Allocates only from context.scratch.
  void project(OpContext& context, const Rows& x, std::span<Rows> out) const;
  // The only part's product.
  void project(OpContext& context, const Rows& x, Rows out) const;
  // Scratch bytes of a call with this many rows and threads.
  size_t scratch_bytes(size_t rows, int threads) const;

  // What scratch_bytes can be at most for an input of this width, known before any matrix is packed.
  static size_t scratch_bound(size_t rows, size_t columns, int threads);

  std::span<const PackedMatrix> parts() const { return parts_; }
  uint64_t bytes() const;
  uint64_t macs() const;  // per row of x

 private:
  std::vector<PackedMatrix> parts_;
  Precision precision_{};
};

}  // namespace loci

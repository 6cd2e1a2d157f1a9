#include "model/weight_loader.h"

#include <algorithm>

#include "base/assert.h"

namespace loci {

WeightLoader::WeightLoader(const ModelFile& file, Activations activations, ThreadPool* pool, OnLoad on_load)
    : file_(file), activations_(activations), pool_(pool), on_load_(std::move(on_load)) {
  for (const Tensor& tensor : file.tensors()) total_ += tensor.data.size();
}

Result<const Tensor*> WeightLoader::find(const MatrixName& name) const {
  const Tensor* tensor = file_.find(name.name);
  if (tensor == nullptr) return fail(ErrorCode::kNotFound, "the model has no tensor '{}'", name.name);
  if (tensor->rows() != name.rows || tensor->columns() != name.columns) {
    return fail(ErrorCode::kCorrupt, "tensor '{}' is {} x {}, but the model's metadata asks for {} x {}", name.name,
                tensor->rows(), tensor->columns(), name.rows, name.columns);
  }
  return tensor;
}

Status WeightLoader::took(const Tensor& tensor) {
  file_.release(tensor.data);
  parameters_ += tensor.rows() * tensor.columns();
  read_ += tensor.data.size();
  if (on_load_ && !on_load_(total_ == 0 ? 1.0 : static_cast<double>(read_) / static_cast<double>(total_))) {
    return fail(ErrorCode::kCancelled, "loading was cancelled");
  }
  return {};
}

Result<PackedMatrix> WeightLoader::matrix(const MatrixName& name) {
  LOCI_ASSERT(!measuring(), "a matrix is packed only when loading; measure with linear()");
  LOCI_TRY(const Tensor* tensor, find(name));
  LOCI_CHECK(file_.check(*tensor));
  LOCI_TRY(PackedMatrix packed, PackedMatrix::pack(
                                    *tensor, activations_, *pool_,
                                    [this](std::span<const std::byte> done) { file_.release(done); }, &arena_));
  bytes_ += packed.bytes();
  LOCI_CHECK(took(*tensor));
  return packed;
}

Result<Linear> WeightLoader::linear(std::initializer_list<MatrixName> matrices) {
  std::vector<PackedMatrix> parts;
  for (const MatrixName& name : matrices) {
    macs_ += uint64_t{name.rows} * name.columns;
    widest_input_ = std::max(widest_input_, name.columns);
    if (measuring()) {
      LOCI_TRY(const Tensor* tensor, find(name));
      bytes_ += PackedMatrix::planned_bytes(tensor->dtype, name.rows, name.columns, activations_);
      parameters_ += tensor->rows() * tensor->columns();
      continue;
    }
    LOCI_TRY(PackedMatrix packed, matrix(name));
    if (!parts.empty() && packed.exact() != parts.front().exact()) {
      return fail(ErrorCode::kUnsupported,
                  "tensors '{}' and '{}' multiply the same input, but only one is stored in rows with one scale; "
                  "quantize both alike",
                  matrices.begin()->name, name.name);
    }
    parts.push_back(std::move(packed));
  }
  return Linear(std::move(parts), activations_);
}

Result<std::vector<float>> WeightLoader::vector(const std::string& name, uint32_t size, float add) {
  LOCI_TRY(const Tensor* tensor, find({name, 1, size}));
  if (tensor->dtype != DType::kF32 && tensor->dtype != DType::kF16 && tensor->dtype != DType::kBF16) {
    return fail(ErrorCode::kUnsupported, "tensor '{}' has type {}; vectors must be f32, f16 or bf16", name,
                info(tensor->dtype).name);
  }
  if (!measuring()) LOCI_CHECK(file_.check(*tensor));
  std::vector<float> out(size);
  dequantize_row(tensor->dtype, tensor->data.data(), out);
  for (float& x : out) x += add;
  bytes_ += out.size() * sizeof(float);
  LOCI_CHECK(took(*tensor));
  return out;
}

}  // namespace loci

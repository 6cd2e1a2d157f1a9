// Takes a model's tensors out of its file: checks shapes, packs matrices, counts bytes and reports progress.
//
// In measuring mode nothing is packed: matrices come back empty and only their bytes are counted. The plan of a model
// and its loading are the same code, so they cannot disagree.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "io/model_file.h"
#include "ops/linear.h"

namespace loci {

struct MatrixName {
  std::string name;
  uint32_t rows;
  uint32_t columns;
};

class WeightLoader {
 public:
  using OnLoad = std::function<bool(double share)>;

  // `pool` may be null in measuring mode only.
  WeightLoader(const ModelFile& file, Activations activations, ThreadPool* pool, OnLoad on_load = {});

  bool measuring() const { return pool_ == nullptr; }
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }

  // Matrices that multiply the same input. kNotFound or kCorrupt names the tensor; kCancelled if on_load says so.
  Result<Linear> linear(std::initializer_list<MatrixName> matrices);
  Result<PackedMatrix> matrix(const MatrixName& name);
  // A vector of fp32, fp16 or bf16 numbers; `add` is added to each.
  Result<std::vector<float>> vector(const std::string& name, uint32_t size, float add = 0);

  uint64_t bytes() const { return bytes_; }                // packed so far
  uint64_t macs() const { return macs_; }                  // of linear() matrices, per row
  uint64_t parameters() const { return parameters_; }      // of all tensors taken
  uint32_t widest_input() const { return widest_input_; }  // columns of the widest linear() matrix

 private:
  Result<const Tensor*> find(const MatrixName& name) const;
  Status took(const Tensor& tensor);

  const ModelFile& file_;
  Activations activations_;
  ThreadPool* pool_;
  OnLoad on_load_;
  Arena arena_;  // of the packed matrices
  uint64_t bytes_ = 0;
  uint64_t macs_ = 0;
  uint64_t parameters_ = 0;
  uint64_t read_ = 0;  // file bytes taken
  uint64_t total_ = 0;
  uint32_t widest_input_ = 0;
};

}  // namespace loci

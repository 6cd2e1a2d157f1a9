// Writes GGUF files with checksums (checksum.h), tensor by tensor: memory holds the header and what is being added.
//
// The file grows as PATH.part and takes its name when it is finished, whole and on disk; else the part goes away. One
// thread.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/model_file.h"

namespace loci {

// What a tensor will be, before it has bytes.
struct TensorPlan {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;  // outermost first

  uint64_t bytes() const;
};

class GgufOutput {
 public:
  // Keys of checksum.h are added to `metadata`.
  static Result<GgufOutput> create(const std::filesystem::path& path, Metadata metadata,
                                   std::vector<TensorPlan> tensors);
  ~GgufOutput();
  GgufOutput(GgufOutput&& other) noexcept;
  GgufOutput& operator=(GgufOutput&&) = delete;

  // The bytes of the next tensor of the plan.
  Status add(std::span<const std::byte> data);
  // All tensors have been added.
  Status finish();

 private:
  struct State;
  explicit GgufOutput(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace loci

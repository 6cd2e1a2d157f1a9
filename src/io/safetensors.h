// Reads a safetensors file from memory: a 64-bit header length, a JSON header that names tensors, then their bytes
// without gaps. Everything is checked against the bytes that are there; memory grows with the tensors that the header
// really lists.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/dtype.h"

namespace loci {

struct SafeTensor {
  std::string name;
  std::string format;           // as the header has it: "BF16"
  std::optional<DType> dtype;   // empty if Loci has no such format; the bytes are checked all the same
  std::vector<uint64_t> shape;  // outermost first, never empty: a scalar is [1]
  std::span<const std::byte> data;
};

Result<std::vector<SafeTensor>> parse_safetensors(std::span<const std::byte> file);

}  // namespace loci

// Reads the header of a GGUF file (versions 2 and 3) from memory. Every count, length and offset is checked against the
// bytes that are there before anything is allocated for it, so a lying file costs no more memory than an honest one of
// its size. Linear in the size of the header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "io/model_file.h"

namespace loci {

struct GgufContent {
  uint32_t version = 0;
  Metadata metadata;
  std::vector<Tensor> tensors;  // views of the parsed bytes
};

Result<GgufContent> parse_gguf(std::span<const std::byte> file);

}  // namespace loci

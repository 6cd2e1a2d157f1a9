// GGUF files: whatever the bytes say, tensors lie within the file, and their first rows can be decoded.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "io/gguf_parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  const auto content = loci::parse_gguf(file);
  if (!content.ok()) {
    LOCI_ASSERT(!content.error().message.empty() && content.error().message.size() < 1000, "errors are one sentence");
    return 0;
  }
  for (const loci::Tensor& tensor : content->tensors) {
    LOCI_ASSERT(tensor.data.data() >= file.data() && tensor.data.data() + tensor.data.size() <= file.data() + size,
                "tensors lie within the file");
    const auto row = loci::row_bytes(tensor.dtype, tensor.columns());
    LOCI_ASSERT(row && *row * tensor.rows() == tensor.data.size(), "a tensor is whole rows");
    std::vector<float> numbers(tensor.columns());
    loci::dequantize_row(tensor.dtype, tensor.data.data(), numbers);
  }
  return 0;
}

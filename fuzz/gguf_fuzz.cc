// GGUF files: whatever the bytes say, tensors lie within the file, their first rows can be decoded, and checksums can
// be compared.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "io/checksum.h"
#include "io/gguf_parser.h"
#include "tensor/row_scaled.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  const auto content = loci::parse_gguf(file);
  if (!content.ok()) {
    LOCI_ASSERT(!content.error().message.empty() && content.error().message.size() < 1000, "errors are one sentence");
    return 0;
  }
  const bool header_holds = loci::check_header(content->metadata, content->tensors).ok();
  for (size_t i = 0; i < content->tensors.size(); ++i) {
    const loci::Tensor& tensor = content->tensors[i];
    LOCI_ASSERT(tensor.data.data() >= file.data() && tensor.data.data() + tensor.data.size() <= file.data() + size,
                "tensors lie within the file");
    const auto row = loci::row_bytes(tensor.dtype, tensor.columns());
    LOCI_ASSERT(row && *row * tensor.rows() == tensor.data.size(), "a tensor is whole rows");
    std::vector<float> numbers(tensor.columns());
    loci::dequantize_row(tensor.dtype, tensor.data.data(), numbers);
    if (header_holds) (void)loci::check_tensor(content->metadata, tensor, i).ok();
    if (loci::is_row_scaled(tensor.dtype)) {
      (void)loci::row_holds(tensor.dtype, tensor.data.data(), tensor.columns());
    }
  }
  return 0;
}

// Safetensors files: whatever the header says, tensors lie within the file and fill it. The header's length is set
// right for half of the inputs, since it decides alone whether the rest is looked at.
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/assert.h"
#include "io/hf_names.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::byte> file(size);
  if (size > 0) std::memcpy(file.data(), data, size);
  if (size > 8 && (data[0] & 1) != 0) {
    uint64_t length = 0;
    std::memcpy(&length, data, sizeof length);
    length = length % (size - 8 + 1);
    std::memcpy(file.data(), &length, sizeof length);
  }
  const auto tensors = loci::parse_safetensors(file);
  if (!tensors.ok()) {
    LOCI_ASSERT(!tensors.error().message.empty() && tensors.error().message.size() < 1000, "errors are one sentence");
    return 0;
  }
  for (const loci::SafeTensor& tensor : *tensors) {
    LOCI_ASSERT(tensor.data.data() >= file.data() && tensor.data.data() + tensor.data.size() <= file.data() + size,
                "tensors lie within the file");
    LOCI_ASSERT(!tensor.shape.empty(), "a tensor has a shape");
    (void)loci::gguf_tensor_name(tensor.name, "gemma3");
    (void)loci::is_unused_tensor(tensor.name);
  }
  return 0;
}

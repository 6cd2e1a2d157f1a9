// Checksums of a GGUF file that Loci wrote: XXH3-64 of every tensor's bytes, and of what the header says.
//
// Two metadata keys hold them: kTensorChecksums, an array in the order of the tensors, and kHeaderChecksum, which
// covers all other keys, that array among them, and the tensors' names, types and shapes. A file without the keys is
// not checked.
#pragma once

#include <cstdint>
#include <span>

#include "io/model_file.h"

namespace loci {

inline constexpr const char* kTensorChecksums = "loci.checksum.tensors";
inline constexpr const char* kHeaderChecksum = "loci.checksum.header";

int64_t checksum(std::span<const std::byte> data);
// Of all keys but kHeaderChecksum, and of the tensors without their data.
int64_t header_checksum(const Metadata& metadata, std::span<const Tensor> tensors);

// kCorrupt if the header's checksum differs or the keys contradict the file; fine if it has none.
Status check_header(const Metadata& metadata, std::span<const Tensor> tensors);
// kCorrupt names the tensor if its bytes' checksum differs. `index` counts the tensors of the file that has the keys;
// those of further parts have no checksum.
Status check_tensor(const Metadata& metadata, const Tensor& tensor, size_t index);

}  // namespace loci

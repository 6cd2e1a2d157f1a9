// The safetensors files of a Hugging Face folder: one model.safetensors, or the shards that
// model.safetensors.index.json names.
#pragma once

#include <filesystem>
#include <vector>

#include "io/mapped_file.h"
#include "io/safetensors.h"

namespace loci {

struct SafetensorsFiles {
  std::vector<MappedFile> files;
  std::vector<SafeTensor> tensors;  // of all files, each name once
};

Result<SafetensorsFiles> open_safetensors_files(const std::filesystem::path& folder);

}  // namespace loci

// A model in one GGUF file, or in the parts of a split one.
#pragma once

#include "io/model_file.h"

namespace loci {

Result<std::unique_ptr<ModelFile>> open_gguf(const std::filesystem::path& path);

}  // namespace loci

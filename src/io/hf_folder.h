// A model as Hugging Face folders hold it (config.json, *.safetensors, tokenizer files), in the GGUF vocabulary.
#pragma once

#include "io/model_file.h"

namespace loci {

Result<std::unique_ptr<ModelFile>> open_hf_folder(const std::filesystem::path& folder);

}  // namespace loci

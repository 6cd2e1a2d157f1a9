// A model in one GGUF file, or in the parts of a split one.
#pragma once

#include "io/model_file.h"

namespace loci {

// Keys beyond those of other GGUF files, for models that were Hugging Face folders: the texts of tokenizer.json and
// tokenizer_config.json, and whether q and k pair up in halves whatever the architecture.
inline constexpr const char* kTokenizerJson = "loci.tokenizer_json";
inline constexpr const char* kTokenizerConfigJson = "loci.tokenizer_config_json";
inline constexpr const char* kPairsHalves = "loci.rope.pairs_halves";

Result<std::unique_ptr<ModelFile>> open_gguf(const std::filesystem::path& path);

}  // namespace loci

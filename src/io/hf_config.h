// A Hugging Face config.json in GGUF's words. What the file asks for and Loci does not do (another architecture,
// another activation, a quantization) is an error that names it, never passed over.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "io/model_file.h"

namespace loci {

struct HfConfig {
  std::string architecture;  // GGUF's name: "llama" for mistral, "gemma3" for gemma3_text
  Metadata metadata;
  std::optional<bool> tied_embeddings;  // tie_word_embeddings, if the file says
};

// `generation_config` is the content of generation_config.json, empty if the folder has none.
Result<HfConfig> read_hf_config(std::string_view config, std::string_view generation_config);

}  // namespace loci

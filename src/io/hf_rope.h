// Rotary embedding in a Hugging Face config.json: "rope_theta" and "rope_scaling" up to transformers 4,
// "rope_parameters" (for each kind of layer, if they differ) from 5 on. Written under GGUF's keys
// "{architecture}.rope.*".
#pragma once

#include <string_view>

#include "io/json_fields.h"
#include "io/model_file.h"

namespace loci {

Status read_hf_rope(const JsonFields& config, std::string_view architecture, Metadata& metadata);

}  // namespace loci

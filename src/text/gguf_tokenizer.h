// A tokenizer from the metadata of a GGUF file (docs of the keys: "tokenizer.ggml.*").
#pragma once

#include <memory>

#include "base/error.h"
#include "io/model_file.h"
#include "text/tokenizer.h"

namespace loci {

Result<std::unique_ptr<Tokenizer>> load_gguf_tokenizer(const Metadata& metadata);

}  // namespace loci

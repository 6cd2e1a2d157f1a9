// A tokenizer from the tokenizer.json of a Hugging Face folder.
#pragma once

#include <memory>
#include <string_view>

#include "base/error.h"
#include "io/model_file.h"
#include "text/tokenizer.h"

namespace loci {

// `config` is tokenizer_config.json (may be empty): the names of BOS and EOS. kUnsupported names the component that is
// outside what Loci reads.
Result<std::unique_ptr<Tokenizer>> load_tokenizer_json(std::string_view json, std::string_view config,
                                                       const Metadata& metadata);

}  // namespace loci

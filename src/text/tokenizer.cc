#include "text/tokenizer.h"

#include "text/gguf_tokenizer.h"
#include "text/tokenizer_json.h"

namespace loci {

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const ModelFile& file) {
  if (file.metadata().find("tokenizer.ggml.model") != nullptr) return load_gguf_tokenizer(file.metadata());
  if (!file.tokenizer_json().empty()) {
    return load_tokenizer_json(file.tokenizer_json(), file.tokenizer_config_json(), file.metadata());
  }
  return fail(ErrorCode::kNotFound, "the model has no vocabulary: neither tokenizer.ggml.model nor a tokenizer.json");
}

}  // namespace loci

// The pre-tokenizers of the model families, under the names that GGUF files give them (`tokenizer.ggml.pre`).
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "text/pre_tokenizer.h"

namespace loci {

struct PreTokenizerFamily {
  std::string_view name;  // canonical: "llama-bpe"
  PreTokenizer pre_tokenizer;
  bool nfc = false;            // text is brought to Unicode's NFC first
  bool ignore_merges = false;  // a piece that is a token as a whole is not merged up to
  bool add_bos = false;        // where the file does not say
};

// `name` as written in a file; aliases are known. kUnsupported lists the names if it is none of them.
Result<PreTokenizerFamily> pre_tokenizer_family(std::string_view name);

// Whether `source` is a pattern of one of the families, hence known to take linear time.
bool is_family_pattern(std::string_view source);
// GPT-2's pattern, which tokenizer.json's ByteLevel implies.
std::string_view gpt2_pattern();

}  // namespace loci

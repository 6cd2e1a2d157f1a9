// The components of a tokenizer.json that Loci reads, each checked and turned into its part of the pipeline. Everything
// else is kUnsupported and named.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/json_fields.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace loci {

Status read_normalizer(const JsonFields& source, Normalizer& normalizer);
Status read_pre_tokenizer(const JsonFields& source, PreTokenizer& pre_tokenizer);

// How token texts become text again.
struct JsonDecoder {
  bool byte_level = false;
  bool byte_fallback = false;                                     // "<0xE2>" is a byte
  bool strip_space = false;                                       // one space at the start of a text goes
  std::vector<std::pair<std::string, std::string>> replacements;  // in every token
  std::string apply(std::string text) const;
};
Status read_decoder(const JsonFields& source, JsonDecoder& decoder);

// Ids put before and after a single text.
struct JsonTemplate {
  std::vector<int64_t> prefix, suffix;
};
Status read_post_processor(const JsonFields& source, JsonTemplate& ids);

}  // namespace loci

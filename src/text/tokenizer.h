// Text to token ids and back, exactly as the model was trained: byte-level BPE and SentencePiece-style vocabularies,
// from GGUF metadata or tokenizer.json. Immutable after loading; any thread may use it. Encoding takes time linear in
// the text, for hostile text too (up to a logarithm).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "io/model_file.h"
#include "loci/types.h"

namespace loci {

struct EncodeOptions {
  bool add_special = true;    // BOS and EOS where the model asks for them
  bool parse_special = true;  // "<|im_end|>" in the text is that token; false: it is plain text
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // From the metadata of a GGUF file (a vocabulary alone suffices) or the tokenizer.json of a folder.
  static Result<std::unique_ptr<Tokenizer>> load(const ModelFile& file);

  // kInvalidArgument if the text is too long to count (2^31 tokens). Invalid UTF-8 is encoded as the reference does.
  virtual Result<std::vector<TokenId>> encode(std::string_view text, EncodeOptions options = {}) const = 0;
  // The bytes of one token as they appear in text; special tokens give their text if `special`, else nothing.
  // kInvalidArgument if the id is outside the vocabulary.
  virtual Result<std::string> piece(TokenId id, bool special = false) const = 0;
  // All pieces joined, with the vocabulary's rule for a leading space applied. May end in half a character.
  virtual Result<std::string> decode(std::span<const TokenId> ids, bool special = false) const = 0;

  virtual size_t vocab_size() const = 0;
  virtual TokenId bos() const = 0;  // -1 if the vocabulary has none
  virtual TokenId eos() const = 0;
  virtual bool is_end(TokenId id) const = 0;  // end of sequence, of turn, of message
  virtual std::string_view kind() const = 0;  // "bpe/smollm", "sentencepiece"
};

// Turns ids that arrive one by one into text that always ends on a whole UTF-8 character.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool special = false);
  // The characters completed by `id`; possibly none. An invalid byte sequence becomes U+FFFD.
  std::string push(TokenId id);
  // What is left: an unfinished character becomes U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool special_;
  bool first_ = true;
  std::string pending_;
};

}  // namespace loci

// Any tokenizer.json with any text, and fixed vocabularies with any text: nothing crashes, every id is in the
// vocabulary, and the lossless vocabularies give the text back. The input's first line is the text's length in bytes;
// the text follows, then the tokenizer.json.
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_level.h"
#include "text/gguf_tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

namespace loci {
namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

// All bytes, a few merges, a control token and a user-defined one.
Metadata byte_level_vocabulary(const std::string& family) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(to_byte_level(std::string(1, static_cast<char>(byte))));
  const std::vector<std::string> merges = {"a a", "aa aa", "\u0120 a",      "\u0120 \u0120",
                                           "1 1", "' s",   "\u010A \u010A", "\u00CC \u0123"};
  for (const std::string& merge : merges) tokens.push_back(replace_all(merge, " ", ""));
  std::vector<int64_t> types(tokens.size(), 1);
  tokens.insert(tokens.end(), {"<|im_end|>", "  x"});
  types.insert(types.end(), {3, 4});
  Metadata metadata;
  metadata.set("tokenizer.ggml.model", "gpt2");
  metadata.set("tokenizer.ggml.pre", family);
  metadata.set("tokenizer.ggml.tokens", std::move(tokens));
  metadata.set("tokenizer.ggml.token_type", std::move(types));
  metadata.set("tokenizer.ggml.merges", merges);
  return metadata;
}

Metadata sentencepiece_vocabulary() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int64_t> types = {2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(fmt::format("<0x{:02X}>", byte));
    types.push_back(6);
  }
  for (const char* text : {"\u2581", "a", "b", "\u2581a", "ab", "aa", "aaaa", "\u2581\u2581", "\u6F22"}) {
    tokens.push_back(text);
    types.push_back(1);
  }
  tokens.push_back("\n\n");
  types.push_back(4);
  std::vector<double> scores;
  for (size_t i = 0; i < tokens.size(); ++i) scores.push_back(-static_cast<double>(i % 7));
  Metadata metadata;
  metadata.set("tokenizer.ggml.model", "llama");
  metadata.set("tokenizer.ggml.tokens", std::move(tokens));
  metadata.set("tokenizer.ggml.token_type", std::move(types));
  metadata.set("tokenizer.ggml.scores", std::move(scores));
  return metadata;
}

std::vector<std::unique_ptr<Tokenizer>> fixed_tokenizers() {
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  for (const char* family : {"llama-bpe", "smollm", "falcon", "deepseek-llm", "tekken", "deepseek-v3"}) {
    auto tokenizer = load_gguf_tokenizer(byte_level_vocabulary(family));
    require(tokenizer.ok());
    tokenizers.push_back(std::move(*tokenizer));
  }
  auto tokenizer = load_gguf_tokenizer(sentencepiece_vocabulary());
  require(tokenizer.ok());
  tokenizers.push_back(std::move(*tokenizer));
  return tokenizers;
}

void read_text(const Tokenizer& tokenizer, std::string_view text, bool lossless) {
  for (const bool special : {true, false}) {
    const auto ids = tokenizer.encode(text, {.add_special = false, .parse_special = special});
    if (!ids.ok()) {
      require(!lossless);
      continue;
    }
    StreamDecoder stream(tokenizer, true);
    std::string streamed;
    for (const TokenId id : *ids) {
      require(id >= 0 && static_cast<size_t>(id) < tokenizer.vocab_size());
      streamed += stream.push(id);
    }
    streamed += stream.finish();
    std::string repaired;
    require(valid_utf8(streamed, InvalidUtf8::kPerByte, repaired) == streamed);
    if (!lossless) continue;
    const auto decoded = tokenizer.decode(*ids, true);
    require(decoded.ok() && *decoded == streamed);
    const InvalidUtf8 policy = tokenizer.kind() == "sentencepiece" ? InvalidUtf8::kPerByte : InvalidUtf8::kPerSequence;
    std::string expected(valid_utf8(text, policy, repaired));
    if (tokenizer.kind() == "sentencepiece") expected = replace_all(expected, "\u2581", " ");
    require(*decoded == expected);
  }
}

}  // namespace
}  // namespace loci

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const kTokenizers = new std::vector<std::unique_ptr<loci::Tokenizer>>(loci::fixed_tokenizers());
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = input.find('\n');
  if (line == std::string_view::npos) return 0;
  const auto wanted = static_cast<size_t>(std::strtoul(std::string(input.substr(0, line)).c_str(), nullptr, 10));
  input.remove_prefix(line + 1);
  const std::string_view text = input.substr(0, wanted);
  const std::string_view json = input.substr(text.size());
  for (const auto& tokenizer : *kTokenizers) loci::read_text(*tokenizer, text, true);
  const auto own = loci::load_tokenizer_json(json, "", loci::Metadata());
  if (own.ok()) loci::read_text(**own, text, false);
  return 0;
}

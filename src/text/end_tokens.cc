#include "text/end_tokens.h"

#include <algorithm>
#include <array>

namespace loci {
namespace {

constexpr std::array<std::string_view, 12> kEndTexts = {"<|im_end|>",
                                                        "<|eot_id|>",
                                                        "<|eom_id|>",
                                                        "<|endoftext|>",
                                                        "<|end_of_text|>",
                                                        "<end_of_turn>",
                                                        "<|end|>",
                                                        "</s>",
                                                        "<|eot|>",
                                                        "<|return|>",
                                                        "<|END_OF_TURN_TOKEN|>",
                                                        "<\uFF5Cend\u2581of\u2581sentence\uFF5C>"};
constexpr std::array<std::string_view, 2> kEndKeys = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};

}  // namespace

Result<TokenId> token_id(const Metadata& metadata, std::string_view key, const Vocabulary& vocabulary) {
  if (metadata.find(key) == nullptr) return -1;
  LOCI_TRY(const uint32_t id, metadata.u32(key));
  if (!vocabulary.contains(id)) {
    return fail(ErrorCode::kCorrupt, "{} is {}, but the vocabulary has {} tokens", key, id, vocabulary.size());
  }
  return static_cast<TokenId>(id);
}

Result<std::set<TokenId>> end_tokens(const Metadata& metadata, const Vocabulary& vocabulary, TokenId eos) {
  std::set<TokenId> ends;
  if (eos >= 0) ends.insert(eos);
  for (const std::string_view key : kEndKeys) {
    LOCI_TRY(const TokenId id, token_id(metadata, key, vocabulary));
    if (id >= 0) ends.insert(id);
  }
  if (const MetaValue* value = metadata.find("loci.eos_token_ids")) {
    const auto* ids = std::get_if<std::vector<int64_t>>(value);
    if (ids == nullptr) return fail(ErrorCode::kCorrupt, "loci.eos_token_ids is not an array of integers");
    for (const int64_t id : *ids) {
      if (!vocabulary.contains(id)) {
        return fail(ErrorCode::kCorrupt, "loci.eos_token_ids names {}, but the vocabulary has {} tokens", id,
                    vocabulary.size());
      }
      ends.insert(static_cast<TokenId>(id));
    }
  }
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    if (vocabulary.kinds[i] != TokenKind::kControl) continue;
    if (std::find(kEndTexts.begin(), kEndTexts.end(), vocabulary.bytes[i]) != kEndTexts.end())
      ends.insert(static_cast<TokenId>(i));
  }
  return ends;
}

}  // namespace loci

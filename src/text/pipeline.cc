#include "text/pipeline.h"

namespace loci {
namespace {

constexpr size_t kMaxTextBytes = (size_t{1} << 31) - 1;

}  // namespace

Result<std::vector<TokenId>> PipelineTokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > kMaxTextBytes) {
    return fail(ErrorCode::kInvalidArgument, "the text has {} bytes, at most {} can be encoded at once", text.size(),
                kMaxTextBytes);
  }
  std::string repaired;
  text = valid_utf8(text, p_.invalid_utf8, repaired);
  Workspace workspace{p_.pre_tokenizer.workspace(), {}};
  std::vector<TokenId> ids;
  if (options.add_special) ids = p_.prefix;
  bool first = true;
  for (const AddedTokens::Part& part : p_.added.split(text, options.parse_special)) {
    if (part.token != nullptr) {
      ids.push_back(part.token->id);
    } else {
      LOCI_CHECK(encode_plain(part.text, first, options.parse_special, workspace, ids));
    }
    first = false;
  }
  if (options.add_special) ids.insert(ids.end(), p_.suffix.begin(), p_.suffix.end());
  return ids;
}

Status PipelineTokenizer::encode_plain(std::string_view text, bool first, bool read_special, Workspace& workspace,
                                       std::vector<TokenId>& ids) const {
  std::string storage;
  if (!p_.normalizer.empty()) {
    LOCI_TRY(storage, p_.normalizer.run(text));
    text = storage;
  }
  if (text.size() > kMaxTextBytes) {
    return fail(ErrorCode::kInvalidArgument, "the normalized text has {} bytes, at most {} can be encoded at once",
                text.size(), kMaxTextBytes);
  }
  for (const AddedTokens::Part& part : p_.added_normalized.split(text, read_special)) {
    if (part.token != nullptr) {
      ids.push_back(part.token->id);
    } else {
      LOCI_CHECK(encode_normalized(part.text, first, workspace, ids));
    }
    first = false;
  }
  return {};
}

Status PipelineTokenizer::encode_normalized(std::string_view text, bool first, Workspace& workspace,
                                            std::vector<TokenId>& ids) const {
  Pieces pieces{std::string(text), {static_cast<uint32_t>(text.size())}};
  LOCI_CHECK(p_.pre_tokenizer.run(pieces, first, workspace.pre_tokenizer));
  uint32_t begin = 0;
  for (const uint32_t end : pieces.ends) {
    p_.model->encode(std::string_view(pieces.text).substr(begin, end - begin), workspace.model, ids);
    begin = end;
  }
  return {};
}

Result<std::string> PipelineTokenizer::piece(TokenId id, bool special) const {
  if (!p_.vocabulary.contains(id)) {
    return fail(ErrorCode::kInvalidArgument, "token id {} is outside the vocabulary of {} tokens", id,
                p_.vocabulary.size());
  }
  if (p_.vocabulary.is_special(id) && !special) return std::string();
  return p_.vocabulary.bytes[static_cast<size_t>(id)];
}

Result<std::string> PipelineTokenizer::decode(std::span<const TokenId> ids, bool special) const {
  std::string text;
  bool at_start = true;  // where encoding would have put a space
  for (const TokenId id : ids) {
    LOCI_TRY(const std::string bytes, piece(id, special));
    if (bytes.empty()) continue;
    const bool drop = at_start && p_.space_before_text && bytes[0] == ' ' && !p_.vocabulary.is_special(id);
    text += std::string_view(bytes).substr(drop ? 1 : 0);
    at_start = p_.vocabulary.is_special(id);
  }
  return text;
}

}  // namespace loci

#include "cli/model_header.h"

#include <fmt/format.h>

#include <utility>

namespace loci {

Result<ModelHeader> ModelHeader::open(const std::filesystem::path& path) {
  ModelHeader out;
  LOCI_TRY(out.file_, open_model_file(path));
  LOCI_TRY(out.tokenizer_, Tokenizer::load(*out.file_));
  LOCI_TRY(const std::string architecture, out.file_->metadata().text("general.architecture"));
  LOCI_TRY(out.trained_context_, out.file_->metadata().u32(fmt::format("{}.context_length", architecture)));
  return out;
}

Result<uint32_t> ModelHeader::count_tokens(std::string_view text) const {
  LOCI_TRY(const std::vector<TokenId> ids, tokenizer_->encode(text));
  return static_cast<uint32_t>(ids.size());
}

}  // namespace loci

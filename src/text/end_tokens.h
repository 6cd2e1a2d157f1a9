// Which tokens end a sequence, a turn or a message.
#pragma once

#include <set>

#include "base/error.h"
#include "io/model_file.h"
#include "loci/types.h"
#include "text/vocabulary.h"

namespace loci {

// A token id of the metadata; -1 if the key is absent. kCorrupt if the vocabulary has no such id.
Result<TokenId> token_id(const Metadata& metadata, std::string_view key, const Vocabulary& vocabulary);
// `eos`, the ids the metadata names, and the control tokens whose text is known to end a turn.
Result<std::set<TokenId>> end_tokens(const Metadata& metadata, const Vocabulary& vocabulary, TokenId eos);

}  // namespace loci

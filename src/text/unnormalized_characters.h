// Characters that are younger than the Unicode by which the reference tokenizers normalize: to them they have no
// decomposition and no combining class. The table is written by tools/tokenizers/unnormalized_characters.py.
#pragma once

namespace loci {

bool is_unnormalized(char32_t code);

}  // namespace loci

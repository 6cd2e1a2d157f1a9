// What commands read besides models: text files and lists of token ids.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cli/console.h"
#include "loci/types.h"

namespace loci {

inline constexpr size_t kMaxInputBytes = size_t{256} << 20;

// The bytes of `path`, or of console.in if it is "-". kLimit beyond kMaxInputBytes, kCancelled on Ctrl-C.
Result<std::string> read_text(const std::string& path, const Console& console);
// A JSON array of token ids, such as [1, 42, 7]. kInvalidArgument names the element that is no id.
Result<std::vector<TokenId>> parse_ids(const std::string& json, const std::string& path);
Result<std::vector<TokenId>> read_ids(const std::string& path, const Console& console);

}  // namespace loci

// The texts that ship with Loci: found in the source tree, or beside the installed binary.
#pragma once

#include <filesystem>
#include <string>

#include "cli/console.h"

namespace loci {

// `name` is below data/: "books/moby-dick.txt".
Result<std::filesystem::path> shipped_file(const std::string& name);
// A text to hide facts in: that of `path`, or the novel that ships with Loci if it is empty. A novel begins with its
// first sentence, not with its table of contents.
Result<std::string> read_book(const std::string& path, const Console& console);

}  // namespace loci

// Text from a file, made safe to put in an error message: all but printable ASCII becomes escapes, and long text
// is cut.
#pragma once

#include <string>
#include <string_view>

namespace loci {

std::string printable(std::string_view text, size_t limit = 100);

}  // namespace loci

// What of a long prompt is kept for people: its ends and what surrounds the needles.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace loci {

// At most about 4,000 bytes. What is left out is told as "[... 1234 bytes ...]". Cuts fall between characters of UTF-8.
std::string excerpt(std::string_view prompt, const std::vector<std::string>& needles);

}  // namespace loci

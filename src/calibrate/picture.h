// A profile as a picture: a square for each head, the brighter the greater its number.
#pragma once

#include <string>

#include "io/profile.h"

namespace loci {

// Rows of characters from ' ' to '@', a row a layer, a column a head, for a terminal.
std::string text_picture(const Profile& profile, const std::string& table);
// All tables of the profile beside each other, with the numbers as tooltips: one file, no scripts.
std::string svg_picture(const Profile& profile);

}  // namespace loci

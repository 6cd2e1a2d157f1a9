// A short name for the content of a model file, for what is valid with that model only: saved sessions, shared
// prefixes.
#pragma once

#include <string>

#include "io/model_file.h"

namespace loci {

// 32 hexadecimal digits over the tensors' names, types and shapes and samples of their data, and the architecture's
// metadata. Tells models apart; it is no proof against forgery.
std::string model_fingerprint(const ModelFile& file);

}  // namespace loci

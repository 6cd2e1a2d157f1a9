// The value of one metadata entry of a GGUF file: a type number, then the value. Arrays of arrays are refused: no known
// key uses them.
#pragma once

#include "io/gguf_cursor.h"
#include "io/model_file.h"

namespace loci {

Result<MetaValue> read_gguf_value(GgufCursor& cursor, std::string_view key);

}  // namespace loci

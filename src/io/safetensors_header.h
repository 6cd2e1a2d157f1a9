// The JSON header of a safetensors file, read event by event: no document is built, and anything but the format's own
// shape stops the reading.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loci {

// One entry of the header, unchecked but for its shape as JSON.
struct SafetensorsEntry {
  std::string name;
  std::string format;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> offsets;  // begin and end, from the end of the header
};

Result<std::vector<SafetensorsEntry>> read_safetensors_header(std::string_view json);

}  // namespace loci

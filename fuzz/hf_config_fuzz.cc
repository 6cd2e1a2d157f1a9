// config.json and generation_config.json: the text up to the first zero byte is the one, the rest the other.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/assert.h"
#include "io/hf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t border = std::min(text.find('\0'), size);
  const std::string_view generation = border < size ? text.substr(border + 1) : std::string_view();
  const auto config = loci::read_hf_config(text.substr(0, border), generation);
  if (!config.ok()) {
    LOCI_ASSERT(!config.error().message.empty(), "errors are one sentence");
    return 0;
  }
  const std::string heads = config->architecture + ".attention.head_count";
  const auto count = config->metadata.u32(heads);
  LOCI_ASSERT(count.ok() && *count > 0, "an accepted configuration is complete");
  return 0;
}

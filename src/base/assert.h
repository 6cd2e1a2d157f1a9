// Checks of our own reasoning, on in every build. Data from outside is never asserted on: it gets an Error.
#pragma once

namespace loci {

[[noreturn]] void assertion_failed(const char* condition, const char* why, const char* file, int line);

}  // namespace loci

#define LOCI_ASSERT(condition, why) \
  (static_cast<bool>(condition) ? void(0) : ::loci::assertion_failed(#condition, why, __FILE__, __LINE__))

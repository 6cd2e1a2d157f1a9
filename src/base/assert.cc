#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace loci {

void assertion_failed(const char* condition, const char* why, const char* file, int line) {
  std::fprintf(stderr, "loci: %s (%s is false at %s:%d)\n", why, condition, file, line);
  std::abort();
}

}  // namespace loci

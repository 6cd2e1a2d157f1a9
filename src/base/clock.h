// Time for measuring what things take.
#pragma once

#include <chrono>

namespace loci {

// Seconds of a clock that never goes back, from an arbitrary start.
inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace loci

// How the executor deals work to workers, and what became of it. Plain data.
#pragma once

#include <cstdint>
#include <vector>

namespace loci {

enum class Schedule : uint8_t {
  kStream,  // equal runs of items over all walks, whatever their lengths (stream-K, LeanAttention)
  kSplit,   // equal numbers of walks, each cut into as many parts as give every worker one: a fixed split
};

// Added up over runs.
struct ScheduleTimes {
  double wall = 0;           // seconds of running, of all workers together
  std::vector<double> busy;  // by worker: seconds of them in which it worked
};

}  // namespace loci

// Measures how much heap a piece of code holds at its peak, over what was held when the meter was made. The test
// program replaces operator new for it. One meter at a time.
#pragma once

#include <cstddef>

namespace loci {

class AllocationMeter {
 public:
  AllocationMeter();
  size_t peak_bytes() const;

 private:
  size_t start_;
};

}  // namespace loci

// Random numbers as CPython's `random.Random(seed)` and numpy's `RandomState(seed)` draw them: a Mersenne Twister and
// the ways both make choices of it. Published benchmark generators are Python, so the same seed gives their prompts,
// on every platform.
//
// A generator is 2.5 KiB of state; copies go their own ways. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace loci {

// MT19937, 32 bits a call.
class MersenneTwister {
 public:
  explicit MersenneTwister(uint32_t seed);                    // as numpy seeds it
  explicit MersenneTwister(std::span<const uint32_t> words);  // as CPython seeds it
  uint32_t next();

 private:
  void refill();

  std::array<uint32_t, 624> state_{};
  size_t at_ = 624;
};

class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);

  uint32_t bits(uint32_t count);                                 // getrandbits, at most 32
  double random();                                               // in [0, 1)
  uint64_t below(uint64_t limit);                                // of 0 .. limit - 1; limit is at least 1
  int64_t between(int64_t low, int64_t high);                    // randint: both included
  std::string uuid();                                            // str(uuid.UUID(int=getrandbits(128), version=4))
  std::string letters(std::string_view alphabet, size_t count);  // "".join(choices(alphabet, k=count))
  // sample(range(size), count): distinct numbers in the order drawn; count <= size.
  std::vector<size_t> sample(size_t size, size_t count);

  template <typename T>
  const T& choice(const std::vector<T>& items) {
    return items[static_cast<size_t>(below(items.size()))];
  }
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i-- > 1;) std::swap(items[i], items[static_cast<size_t>(below(i + 1))]);
  }

 private:
  MersenneTwister twister_;
};

// Of numpy.random.RandomState(seed), drawn from MersenneTwister(seed):
// randint(low, high), high left out, for ranges below 2^32.
int64_t numpy_randint(MersenneTwister& twister, int64_t low, int64_t high);
// permutation(size), size below 2^32; its first `count` are choice(size, count, replace=False).
std::vector<size_t> numpy_permutation(MersenneTwister& twister, size_t size);
// choice(weights.size(), count, replace=False, p=weights / sum): as many weights as `count` are above 0.
std::vector<size_t> numpy_weighted_choice(MersenneTwister& twister, std::vector<double> weights, size_t count);

}  // namespace loci

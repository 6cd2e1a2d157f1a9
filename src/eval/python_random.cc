#include "eval/python_random.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <string_view>
#include <unordered_set>

namespace loci {
namespace {

constexpr size_t kWords = 624;
constexpr size_t kShift = 397;

std::vector<uint32_t> words_of(uint64_t seed) {
  std::vector<uint32_t> words{static_cast<uint32_t>(seed)};
  if (seed >> 32 != 0) words.push_back(static_cast<uint32_t>(seed >> 32));
  return words;
}

// In [0, 1), of 53 bits: both CPython's and numpy's.
double uniform(MersenneTwister& twister) {
  const uint32_t a = twister.next() >> 5;
  const uint32_t b = twister.next() >> 6;
  return (a * 67108864.0 + b) / 9007199254740992.0;
}

}  // namespace

MersenneTwister::MersenneTwister(uint32_t seed) {
  state_[0] = seed;
  for (uint32_t i = 1; i < kWords; ++i) state_[i] = 1812433253U * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
}

MersenneTwister::MersenneTwister(std::span<const uint32_t> words) : MersenneTwister(19650218U) {
  size_t i = 1;
  const auto step = [&] {
    if (++i < kWords) return;
    state_[0] = state_[kWords - 1];
    i = 1;
  };
  size_t j = 0;
  for (size_t k = std::max(kWords, words.size()); k > 0; --k) {
    state_[i] =
        (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525U)) + words[j] + static_cast<uint32_t>(j);
    step();
    j = (j + 1) % words.size();
  }
  for (size_t k = kWords - 1; k > 0; --k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941U)) - static_cast<uint32_t>(i);
    step();
  }
  state_[0] = 0x80000000U;
}

void MersenneTwister::refill() {
  for (size_t i = 0; i < kWords; ++i) {
    const uint32_t y = (state_[i] & 0x80000000U) | (state_[(i + 1) % kWords] & 0x7fffffffU);
    state_[i] = state_[(i + kShift) % kWords] ^ (y >> 1) ^ ((y & 1U) != 0 ? 0x9908b0dfU : 0U);
  }
  at_ = 0;
}

uint32_t MersenneTwister::next() {
  if (at_ == kWords) refill();
  uint32_t y = state_[at_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680U;
  y ^= (y << 15) & 0xefc60000U;
  return y ^ (y >> 18);
}

PythonRandom::PythonRandom(uint64_t seed) : twister_(std::span<const uint32_t>(words_of(seed))) {}

uint32_t PythonRandom::bits(uint32_t count) { return count == 0 ? 0 : twister_.next() >> (32 - count); }

double PythonRandom::random() { return uniform(twister_); }

uint64_t PythonRandom::below(uint64_t limit) {
  const auto width = static_cast<uint32_t>(std::bit_width(limit));
  for (;;) {
    // Above 32 bits, the low word comes first.
    uint64_t drawn = bits(std::min(width, 32U));
    if (width > 32) drawn |= uint64_t{bits(width - 32)} << 32;
    if (drawn < limit) return drawn;
  }
}

int64_t PythonRandom::between(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(below(static_cast<uint64_t>(high - low) + 1));
}

std::string PythonRandom::uuid() {
  std::array<uint32_t, 4> word;  // the lowest first
  for (uint32_t& w : word) w = twister_.next();
  const uint32_t version = (word[2] & 0xffff0fffU) | 0x4000U;
  const uint32_t variant = (word[1] & 0x3fffffffU) | 0x80000000U;
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:04x}{:08x}", word[3], version >> 16, version & 0xffffU,
                     variant >> 16, variant & 0xffffU, word[0]);
}

std::string PythonRandom::letters(std::string_view alphabet, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) {
    out += alphabet[static_cast<size_t>(random() * static_cast<double>(alphabet.size()))];
  }
  return out;
}

std::vector<size_t> PythonRandom::sample(size_t size, size_t count) {
  // Up to this size CPython keeps a pool of what is left; beyond, a set of what was taken.
  size_t pool_limit = 21;
  if (count > 5) {
    pool_limit += static_cast<size_t>(std::pow(4, std::ceil(std::log(static_cast<double>(count) * 3) / std::log(4.0))));
  }
  std::vector<size_t> out;
  out.reserve(count);
  if (size <= pool_limit) {
    std::vector<size_t> pool(size);
    std::iota(pool.begin(), pool.end(), size_t{0});
    for (size_t i = 0; i < count; ++i) {
      const auto j = static_cast<size_t>(below(size - i));
      out.push_back(pool[j]);
      pool[j] = pool[size - i - 1];
    }
    return out;
  }
  std::unordered_set<size_t> taken;
  while (out.size() < count) {
    const auto j = static_cast<size_t>(below(size));
    if (taken.insert(j).second) out.push_back(j);
  }
  return out;
}

int64_t numpy_randint(MersenneTwister& twister, int64_t low, int64_t high) {
  const auto range = static_cast<uint32_t>(high - low - 1);
  if (range == 0) return low;
  const uint32_t mask = range == UINT32_MAX ? UINT32_MAX : std::bit_ceil(range + 1) - 1;
  for (;;) {
    const uint32_t drawn = twister.next() & mask;
    if (drawn <= range) return low + drawn;
  }
}

std::vector<size_t> numpy_permutation(MersenneTwister& twister, size_t size) {
  std::vector<size_t> out(size);
  std::iota(out.begin(), out.end(), size_t{0});
  for (size_t i = size; i-- > 1;) {
    std::swap(out[i], out[static_cast<size_t>(numpy_randint(twister, 0, static_cast<int64_t>(i) + 1))]);
  }
  return out;
}

// Draws all that are missing at once, with the weights of those found set to 0, and keeps the first of equal ones.
std::vector<size_t> numpy_weighted_choice(MersenneTwister& twister, std::vector<double> weights, size_t count) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& w : weights) w /= total;
  std::vector<size_t> found;
  while (found.size() < count) {
    std::vector<double> drawn(count - found.size());
    for (double& x : drawn) x = uniform(twister);
    for (const size_t i : found) weights[i] = 0;
    std::vector<double> sums(weights.size());
    std::partial_sum(weights.begin(), weights.end(), sums.begin());
    const double last = sums.back();
    for (double& x : sums) x /= last;
    std::unordered_set<size_t> taken;
    for (const double x : drawn) {
      const auto i = static_cast<size_t>(std::upper_bound(sums.begin(), sums.end(), x) - sums.begin());
      if (taken.insert(i).second) found.push_back(i);
    }
  }
  return found;
}

}  // namespace loci

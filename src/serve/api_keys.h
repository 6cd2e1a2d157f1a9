// Who may ask, and how much: keys from a file, one a line, with the limits of each.
//
//   # key                              name    limits
//   sk-3f9c0b7d5a1e4c2f8d6b            alice   requests_per_minute=60 concurrent=8 tokens_per_minute=100000
//
// A key is looked for by its SHA-256 among all of them, without an early end, so that the time tells nothing about how
// much of a guess was right. Keys are not kept. ApiKeys is immutable; KeyUse has a lock of its own.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loci {

struct KeyLimits {
  uint32_t requests_per_minute = 0;  // 0: no limit
  uint32_t tokens_per_minute = 0;    // prompts and answers
  uint32_t concurrent = 0;           // requests that have not ended
};

struct ApiKey {
  std::string name;  // in logs, and the tenant in the scheduler
  KeyLimits limits = {};
};

class ApiKeys {
 public:
  static constexpr size_t kLeastKeyBytes = 16;
  static constexpr size_t kMostKeys = 10'000;

  ApiKeys() = default;  // none: everybody may ask
  // kCorrupt names the line that is wrong.
  static Result<ApiKeys> parse(std::string_view text, const std::string& what);
  // The file must not be readable by everybody.
  static Result<ApiKeys> load(const std::string& path);

  bool empty() const { return keys_.empty(); }
  // Null if no key is this one.
  const ApiKey* find(std::string_view key) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  struct Entry {
    Digest digest;
    ApiKey key;
  };
  std::vector<Entry> keys_;
};

// What each key has used lately.
class KeyUse {
 public:
  using Clock = std::chrono::steady_clock;

  struct Refusal {
    std::string why;
    uint32_t retry_after_seconds = 1;
  };
  // A request begins, unless that is too much.
  std::optional<Refusal> begin(const ApiKey& key, Clock::time_point now);
  // It has ended, with so many tokens.
  void end(const ApiKey& key, uint64_t tokens, Clock::time_point now);

 private:
  // A bucket that fills up by its limit every minute.
  struct Bucket {
    double left = 0;
    Clock::time_point filled;
    bool begun = false;
    void fill(double per_minute, Clock::time_point now);
  };
  struct Use {
    uint32_t open = 0;
    Bucket requests, tokens;
  };
  std::mutex mutex_;
  std::map<std::string, Use> uses_;
};

// The key of an Authorization header "Bearer KEY"; empty if it is none.
std::string_view bearer(std::string_view authorization);

}  // namespace loci

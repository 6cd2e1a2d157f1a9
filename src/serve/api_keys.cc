#include "serve/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>

namespace loci {
namespace {

constexpr size_t kMostFileBytes = size_t{4} << 20;

std::array<unsigned char, 32> digest_of(std::string_view key) {
  std::array<unsigned char, 32> out;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), out.data());
  return out;
}

Status read_limit(const std::string& word, const std::string& where, KeyLimits& limits) {
  const size_t equals = word.find('=');
  const std::string name = word.substr(0, equals);
  uint32_t* to = name == "requests_per_minute" ? &limits.requests_per_minute
                 : name == "tokens_per_minute" ? &limits.tokens_per_minute
                 : name == "concurrent"        ? &limits.concurrent
                                               : nullptr;
  if (to == nullptr || equals == std::string::npos) {
    return fail(ErrorCode::kCorrupt,
                "{}: '{}' is no limit; use requests_per_minute=N, tokens_per_minute=N or concurrent=N", where, word);
  }
  const char* const begin = word.data() + equals + 1;
  const char* const end = word.data() + word.size();
  const auto [rest, error] = std::from_chars(begin, end, *to);
  if (error != std::errc() || rest != end)
    return fail(ErrorCode::kCorrupt, "{}: '{}' needs a number of 0 or more", where, word);
  return {};
}

}  // namespace

Result<ApiKeys> ApiKeys::parse(std::string_view text, const std::string& what) {
  ApiKeys out;
  std::istringstream lines{std::string(text)};
  std::string line;
  for (size_t number = 1; std::getline(lines, line); ++number) {
    const std::string where = fmt::format("{}:{}", what, number);
    std::istringstream words(line.substr(0, line.find('#')));
    std::string key, word;
    if (!(words >> key)) continue;
    if (key.size() < kLeastKeyBytes) {
      return fail(ErrorCode::kCorrupt, "{}: the key has {} characters, at least {} are needed to be hard to guess",
                  where, key.size(), kLeastKeyBytes);
    }
    if (out.keys_.size() == kMostKeys)
      return fail(ErrorCode::kLimit, "{}: at most {} keys are allowed", where, kMostKeys);
    Entry entry{.digest = digest_of(key), .key = {.name = fmt::format("key-{}", out.keys_.size() + 1), .limits = {}}};
    bool first = true;
    while (words >> word) {
      if (first && word.find('=') == std::string::npos) {
        entry.key.name = word;
      } else {
        LOCI_CHECK(read_limit(word, where, entry.key.limits));
      }
      first = false;
    }
    for (const Entry& other : out.keys_) {
      if (other.digest == entry.digest) return fail(ErrorCode::kCorrupt, "{}: the key is there already", where);
      if (other.key.name == entry.key.name) {
        return fail(ErrorCode::kCorrupt, "{}: the name '{}' is there already", where, entry.key.name);
      }
    }
    out.keys_.push_back(std::move(entry));
  }
  if (out.keys_.empty()) return fail(ErrorCode::kCorrupt, "{} holds no key; write one a line", what);
  return out;
}

Result<ApiKeys> ApiKeys::load(const std::string& path) {
  struct stat about {};
  if (stat(path.c_str(), &about) != 0 || !S_ISREG(about.st_mode)) {
    return fail(ErrorCode::kIo, "cannot read the keys: '{}' is no file", path);
  }
  if ((about.st_mode & S_IROTH) != 0) {
    return fail(ErrorCode::kInvalidArgument, "everybody on this machine may read the keys in '{}'; chmod 600 it", path);
  }
  if (static_cast<uint64_t>(about.st_size) > kMostFileBytes) {
    return fail(ErrorCode::kLimit, "'{}' has {} bytes, a file of keys may have {}", path, about.st_size,
                kMostFileBytes);
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return fail(ErrorCode::kIo, "cannot read the keys in '{}'", path);
  return parse(text.str(), path);
}

const ApiKey* ApiKeys::find(std::string_view key) const {
  const Digest digest = digest_of(key);
  const ApiKey* found = nullptr;
  for (const Entry& entry : keys_) {
    if (CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0) found = &entry.key;
  }
  return found;
}

void KeyUse::Bucket::fill(double per_minute, Clock::time_point now) {
  const double minutes = std::chrono::duration<double>(now - filled).count() / 60;
  left = begun ? std::min(per_minute, left + minutes * per_minute) : per_minute;
  filled = now;
  begun = true;
}

std::optional<KeyUse::Refusal> KeyUse::begin(const ApiKey& key, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  Use& use = uses_[key.name];
  const KeyLimits& limits = key.limits;
  if (limits.concurrent > 0 && use.open >= limits.concurrent) {
    return Refusal{fmt::format("{} requests of this key are open, which is all that may be", use.open), 1};
  }
  const auto wait = [](double missing, double per_minute) {
    return static_cast<uint32_t>(std::clamp(std::ceil(missing / per_minute * 60), 1.0, 60.0));
  };
  if (limits.requests_per_minute > 0) {
    use.requests.fill(limits.requests_per_minute, now);
    if (use.requests.left < 1) {
      return Refusal{fmt::format("this key may make {} requests a minute", limits.requests_per_minute),
                     wait(1 - use.requests.left, limits.requests_per_minute)};
    }
  }
  if (limits.tokens_per_minute > 0) {
    use.tokens.fill(limits.tokens_per_minute, now);
    if (use.tokens.left <= 0) {
      return Refusal{fmt::format("this key may use {} tokens a minute", limits.tokens_per_minute),
                     wait(1 - use.tokens.left, limits.tokens_per_minute)};
    }
  }
  if (limits.requests_per_minute > 0) use.requests.left -= 1;
  ++use.open;
  return std::nullopt;
}

void KeyUse::end(const ApiKey& key, uint64_t tokens, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  Use& use = uses_[key.name];
  if (use.open > 0) --use.open;
  if (key.limits.tokens_per_minute == 0) return;
  use.tokens.fill(key.limits.tokens_per_minute, now);
  use.tokens.left -= static_cast<double>(tokens);  // what was used beyond the limit is paid off first
}

std::string_view bearer(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() <= kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = authorization[i];
    if (('A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c) != kScheme[i]) return {};
  }
  authorization.remove_prefix(kScheme.size());
  while (!authorization.empty() && authorization.front() == ' ') authorization.remove_prefix(1);
  return authorization;
}

}  // namespace loci

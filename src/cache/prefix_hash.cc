#include "cache/prefix_hash.h"

#include <sys/random.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>

namespace loci {
namespace {

static_assert(KeyedHasher::kSecretBytes >= 136, "XXH3 wants at least 136 bytes of secret");

BlockHash hash(const void* data, size_t bytes, const KeyedHasher::Secret& secret) {
  const XXH128_hash_t h = XXH3_128bits_withSecret(data, bytes, secret.data(), secret.size());
  return {h.low64, h.high64};
}

}  // namespace

Result<KeyedHasher::Secret> KeyedHasher::random_secret() {
  Secret secret;
  // At most 256 bytes come whole or not at all.
  if (getrandom(secret.data(), secret.size(), 0) != static_cast<ssize_t>(secret.size())) {
    return fail(ErrorCode::kIo, "the system gave no random bytes for the prefix index: {}", std::strerror(errno));
  }
  return secret;
}

BlockHash KeyedHasher::root(std::string_view identity) const { return hash(identity.data(), identity.size(), secret_); }

BlockHash KeyedHasher::next(const BlockHash& parent, std::span<const TokenId, kPrefixBlock> tokens) const {
  std::array<std::byte, sizeof(BlockHash) + kPrefixBlock * sizeof(TokenId)> record;
  std::memcpy(record.data(), &parent.low, 8);
  std::memcpy(record.data() + 8, &parent.high, 8);
  std::memcpy(record.data() + 16, tokens.data(), tokens.size_bytes());
  return hash(record.data(), record.size(), secret_);
}

std::string identity(const PrefixSeed& seed) {
  // Lengths in front keep ("ab", "c") and ("a", "bc") apart.
  return fmt::format("{}:{}{}:{}{}:{}", seed.model.size(), seed.model, seed.plan.size(), seed.plan, seed.salt.size(),
                     seed.salt);
}

}  // namespace loci

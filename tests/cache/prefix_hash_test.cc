#include "cache/prefix_hash.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace loci {
namespace {

KeyedHasher::Secret secret(uint32_t seed) {
  std::mt19937 random(seed);
  KeyedHasher::Secret bytes;
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

using Block = std::array<TokenId, kPrefixBlock>;

TEST(KeyedHasher, DependsOnParentTokensTheirOrderAndTheSecret) {
  const KeyedHasher hasher(secret(1));
  Block tokens{};
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>(i);
  const BlockHash root = hasher.root("model");
  const BlockHash first = hasher.next(root, tokens);
  EXPECT_EQ(hasher.next(root, tokens), first);
  EXPECT_NE(hasher.next(hasher.root("other"), tokens), first);
  EXPECT_NE(hasher.next(first, tokens), first);
  EXPECT_NE(KeyedHasher(secret(2)).next(root, tokens), first);
  for (size_t i = 0; i < tokens.size(); ++i) {
    Block changed = tokens;
    changed[i] ^= 1;
    EXPECT_NE(hasher.next(root, changed), first) << "token " << i;
  }
  std::swap(tokens[3], tokens[60]);
  EXPECT_NE(hasher.next(root, tokens), first);
}

TEST(KeyedHasher, SpreadsItsBits) {
  const KeyedHasher hasher(secret(3));
  std::set<uint64_t> low, high;
  Block tokens{};
  for (int i = 0; i < 20000; ++i) {
    tokens[static_cast<size_t>(i) % kPrefixBlock] = i;
    const BlockHash h = hasher.next({}, tokens);
    low.insert(h.low);
    high.insert(h.high);
  }
  EXPECT_EQ(low.size(), 20000U);
  EXPECT_EQ(high.size(), 20000U);
}

TEST(KeyedHasher, SecretsDiffer) {
  const auto a = KeyedHasher::random_secret();
  const auto b = KeyedHasher::random_secret();
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NE(*a, *b);
}

TEST(PrefixSeed, FieldsDoNotRunTogether) {
  std::set<std::string> seen;
  const std::vector<std::string> parts = {"", "a", "b", "ab", "ba", "1:a", "0:", "a0:"};
  for (const auto& model : parts) {
    for (const auto& plan : parts) {
      for (const auto& salt : parts) seen.insert(identity({model, plan, salt}));
    }
  }
  EXPECT_EQ(seen.size(), parts.size() * parts.size() * parts.size());
}

}  // namespace
}  // namespace loci

#include "cache/prefix_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace loci {
namespace {

using Tokens = std::vector<TokenId>;
using Handle = PrefixIndex::Handle;

std::unique_ptr<BlockHasher> keyed() {
  KeyedHasher::Secret secret;
  std::mt19937 random(99);
  for (auto& b : secret) b = static_cast<std::byte>(random());
  return std::make_unique<KeyedHasher>(secret);
}

// Nearly everything collides.
class PoorHasher final : public BlockHasher {
 public:
  explicit PoorHasher(uint64_t numbers) : numbers_(numbers) {}
  BlockHash root(std::string_view identity) const override { return {identity.size() % numbers_, 0}; }
  BlockHash next(const BlockHash& parent, std::span<const TokenId, kPrefixBlock> tokens) const override {
    return {(parent.low * 3 + static_cast<uint64_t>(tokens[0])) % numbers_, 0};
  }

 private:
  uint64_t numbers_;
};

// One token stands for a whole block.
Tokens blocks(const std::vector<int>& letters) {
  Tokens tokens;
  for (const int letter : letters) tokens.insert(tokens.end(), kPrefixBlock, letter);
  return tokens;
}

struct Owner {
  std::multiset<Handle> released;
  std::function<void(Handle)> release() {
    return [this](Handle h) { released.insert(h); };
  }
};

TEST(PrefixIndex, FindsTheLongestPrefixInWholeBlocks) {
  Owner owner;
  PrefixIndex index(keyed(), owner.release());
  const PrefixSeed seed{"m", "dense", ""};
  const Tokens tokens = blocks({1, 2, 3});
  EXPECT_EQ(index.longest(seed, tokens).tokens, 0U);
  EXPECT_EQ(index.insert(seed, tokens, 0, std::vector<Handle>{10, 20, 30}), 3U);
  EXPECT_EQ(index.longest(seed, tokens).blocks, (std::vector<Handle>{10, 20, 30}));
  EXPECT_EQ(index.longest(seed, blocks({1, 2, 4})).blocks, (std::vector<Handle>{10, 20}));
  Tokens more = tokens;
  more.push_back(9);
  EXPECT_EQ(index.longest(seed, more).tokens, 192U);
  EXPECT_EQ(index.longest(seed, std::span(tokens).first(191)).tokens, 128U);
  EXPECT_EQ(index.longest(seed, blocks({2, 3})).tokens, 0U) << "a block counts only after its parents";
  EXPECT_EQ(index.stats().lookups, 6U);
  EXPECT_EQ(index.stats().hits, 4U);
  EXPECT_EQ(index.stats().blocks_hit, 10U);
  EXPECT_TRUE(owner.released.empty());
}

TEST(PrefixIndex, SeedsDoNotMeet) {
  Owner owner;
  PrefixIndex index(keyed(), owner.release());
  const Tokens tokens = blocks({1});
  index.insert({"m", "dense", ""}, tokens, 0, std::vector<Handle>{1});
  EXPECT_EQ(index.longest({"m", "store=kv4", ""}, tokens).tokens, 0U);
  EXPECT_EQ(index.longest({"n", "dense", ""}, tokens).tokens, 0U);
  EXPECT_EQ(index.longest({"m", "dense", "tenant"}, tokens).tokens, 0U);
  EXPECT_EQ(index.longest({"m", "dense", ""}, tokens).tokens, 64U);
}

TEST(PrefixIndex, ReleasesDuplicatesAndOrphans) {
  Owner owner;
  PrefixIndex index(keyed(), owner.release());
  const PrefixSeed seed{"m", "dense", ""};
  index.insert(seed, blocks({1, 2}), 0, std::vector<Handle>{10, 20});
  EXPECT_EQ(index.insert(seed, blocks({1, 2, 3}), 0, std::vector<Handle>{11, 21, 31}), 1U);
  EXPECT_EQ(owner.released, (std::multiset<Handle>{11, 21}));
  EXPECT_EQ(index.longest(seed, blocks({1, 2, 3})).blocks, (std::vector<Handle>{10, 20, 31}));
  EXPECT_EQ(index.insert(seed, blocks({7, 8}), 1, std::vector<Handle>{40}), 0U);
  EXPECT_EQ(owner.released, (std::multiset<Handle>{11, 21, 40}));
  EXPECT_EQ(index.insert(seed, blocks({1, 5}), 1, std::vector<Handle>{50}), 1U);
  EXPECT_EQ(index.size(), 4U);
  index.clear();
  EXPECT_EQ(index.size(), 0U);
  EXPECT_EQ(owner.released, (std::multiset<Handle>{10, 11, 20, 21, 31, 40, 50}));
}

TEST(PrefixIndex, DestructionReleasesEverything) {
  Owner owner;
  { PrefixIndex(keyed(), owner.release()).insert({}, blocks({1, 2}), 0, std::vector<Handle>{1, 2}); }
  EXPECT_EQ(owner.released, (std::multiset<Handle>{1, 2}));
}

TEST(PrefixIndex, EvictsTheOldestLeafFirst) {
  Owner owner;
  PrefixIndex index(keyed(), owner.release());
  const PrefixSeed seed;
  index.insert(seed, blocks({1, 2}), 0, std::vector<Handle>{1, 2});
  index.insert(seed, blocks({3, 4}), 0, std::vector<Handle>{3, 4});
  index.longest(seed, blocks({1}));  // younger than 3 and 4, but 2 was not used
  std::vector<Handle> order;
  while (index.size() > 0) {
    const auto before = owner.released;
    ASSERT_TRUE(index.evict_one());
    for (const Handle h : owner.released) {
      if (!before.contains(h)) order.push_back(h);
    }
  }
  EXPECT_EQ(order, (std::vector<Handle>{2, 4, 3, 1}));
  EXPECT_FALSE(index.evict_one());
}

TEST(PrefixIndex, EvictsOnlyWhatFreesSomething) {
  Owner owner;
  PrefixIndex index(keyed(), owner.release());
  index.insert({}, blocks({1, 2}), 0, std::vector<Handle>{1, 2});
  index.insert({}, blocks({3}), 0, std::vector<Handle>{3});
  EXPECT_TRUE(index.evict_one([](Handle h) { return h != 2; }));
  EXPECT_EQ(owner.released, (std::multiset<Handle>{3})) << "1 is no leaf, 2 is in use";
  EXPECT_FALSE(index.evict_one([](Handle h) { return h != 2; }));
}

// A map from (seed, whole prefix) to its block. `use` of a prefix stamps all its blocks.
class Model {
 public:
  using Key = std::pair<std::string, std::vector<int>>;
  struct Block {
    Handle handle = 0;
    uint64_t used = 0;
  };

  std::vector<Handle> longest(const std::string& salt, const std::vector<int>& letters) {
    std::vector<Handle> found;
    std::vector<int> prefix;
    for (const int letter : letters) {
      prefix.push_back(letter);
      const auto it = map.find({salt, prefix});
      if (it == map.end()) break;
      found.push_back(it->second.handle);
    }
    use(salt, letters, found.size());
    return found;
  }

  void insert(const std::string& salt, const std::vector<int>& letters, size_t first,
              const std::vector<Handle>& handles) {
    for (size_t n = 1; n <= first; ++n) {
      if (!map.contains({salt, {letters.begin(), letters.begin() + static_cast<std::ptrdiff_t>(n)}})) {
        released.insert(handles.begin(), handles.end());
        return;
      }
    }
    for (size_t i = 0; i < handles.size(); ++i) {
      const std::vector<int> prefix(letters.begin(), letters.begin() + static_cast<std::ptrdiff_t>(first + i + 1));
      if (!map.try_emplace({salt, prefix}, Block{handles[i], 0}).second) released.insert(handles[i]);
    }
    use(salt, letters, letters.size());
  }

  bool evict() {
    auto oldest = map.end();
    for (auto it = map.begin(); it != map.end(); ++it) {
      const bool leaf = std::none_of(map.begin(), map.end(), [&](const auto& other) {
        return other.first.first == it->first.first && other.first.second.size() == it->first.second.size() + 1 &&
               std::equal(it->first.second.begin(), it->first.second.end(), other.first.second.begin());
      });
      if (leaf && (oldest == map.end() || it->second.used < oldest->second.used)) oldest = it;
    }
    if (oldest == map.end()) return false;
    released.insert(oldest->second.handle);
    map.erase(oldest);
    return true;
  }

  std::map<Key, Block> map;
  std::multiset<Handle> released;

 private:
  void use(const std::string& salt, const std::vector<int>& letters, size_t count) {
    ++clock_;
    for (size_t n = 1; n <= count; ++n) {
      map.at({salt, {letters.begin(), letters.begin() + static_cast<std::ptrdiff_t>(n)}}).used = clock_;
    }
  }
  uint64_t clock_ = 0;
};

TEST(PrefixIndex, AgreesWithAMapOfPrefixes) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    Owner owner;
    PrefixIndex index(keyed(), owner.release());
    Model model;
    Handle next = 1;
    for (int step = 0; step < 400; ++step) {
      const std::string salt(random() % 2, 's');
      std::vector<int> letters(1 + random() % 5);
      for (int& letter : letters) letter = static_cast<int>(random() % 3);
      const Tokens tokens = blocks(letters);
      switch (random() % 4) {
        case 0: {
          const size_t first = random() % letters.size();
          std::vector<Handle> handles(letters.size() - first);
          for (Handle& h : handles) h = next++;
          index.insert({"m", "p", salt}, tokens, first, handles);
          model.insert(salt, letters, first, handles);
          break;
        }
        case 1:
          ASSERT_EQ(index.evict_one(), model.evict());
          break;
        default:
          ASSERT_EQ(index.longest({"m", "p", salt}, tokens).blocks, model.longest(salt, letters));
      }
      ASSERT_EQ(index.size(), model.map.size()) << "seed " << seed << " step " << step;
      ASSERT_EQ(owner.released, model.released) << "seed " << seed << " step " << step;
    }
  }
}

TEST(PrefixIndex, ACollisionIsNeverAHit) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    Owner owner;
    std::map<Handle, std::pair<std::string, Tokens>> content;
    {
      PrefixIndex index(std::make_unique<PoorHasher>(1 + seed), owner.release());
      for (int step = 0; step < 500; ++step) {
        const std::string salt(random() % 2, 's');
        std::vector<int> letters(1 + random() % 4);
        for (int& letter : letters) letter = static_cast<int>(random() % 4);
        const Tokens tokens = blocks(letters);
        if (random() % 3 == 0) {
          std::vector<Handle> handles;
          for (size_t i = 0; i < letters.size(); ++i) {
            handles.push_back(content.size());
            content[handles.back()] = {salt,
                                       blocks({letters.begin(), letters.begin() + static_cast<std::ptrdiff_t>(i + 1)})};
          }
          index.insert({"m", "p", salt}, tokens, 0, handles);
        }
        if (random() % 10 == 0) index.evict_one();
        const auto match = index.longest({"m", "p", salt}, tokens);
        for (size_t i = 0; i < match.blocks.size(); ++i) {
          const auto& [owner_salt, owner_tokens] = content.at(match.blocks[i]);
          ASSERT_EQ(owner_salt, salt);
          ASSERT_TRUE(std::equal(owner_tokens.begin(), owner_tokens.end(), tokens.begin()));
          ASSERT_EQ(owner_tokens.size(), (i + 1) * kPrefixBlock);
        }
      }
    }
    ASSERT_EQ(owner.released.size(), content.size()) << "every handle is released once";
    ASSERT_EQ(std::set<Handle>(owner.released.begin(), owner.released.end()).size(), content.size());
  }
}

}  // namespace
}  // namespace loci

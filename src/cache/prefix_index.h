// Which blocks of 64 tokens are still in memory, by the prefix that they end: a tree whose roots are seeds (model,
// plan, salt) and whose nodes are blocks. A block's entries depend on all tokens before it, so a node is reached only
// through its parents, and its tokens are compared, not only their hash: a collision is a miss, never a wrong hit.
//
// The index does not know what a block is. It owns one handle a node and calls `release` when it drops the node; the
// owner of the pages counts references, so a node may be dropped while sequences use its pages. `release` must not call
// back.
//
// Order of eviction: the block whose prefix was used longest ago, leaves before parents. One list holds all nodes, most
// recent first; using a prefix moves its nodes to the front so that each stands before its children, hence the last of
// the list is always a leaf.
//
// One thread at a time. Cost: a hash, a look-up and a comparison of 256 bytes for each block of the prefix; eviction is
// O(1); about 400 bytes a block.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache/prefix_hash.h"

namespace loci {

struct PrefixStats {
  uint64_t lookups = 0;
  uint64_t hits = 0;        // look-ups that found at least one block
  uint64_t blocks_hit = 0;  // blocks they found, together
  uint64_t inserted = 0;
  uint64_t duplicates = 0;  // insertions of a block that was there (or whose hash was): the newcomer is released
  uint64_t evicted = 0;
};

class PrefixIndex {
 public:
  using Handle = uint64_t;

  struct Match {
    std::vector<Handle> blocks;  // of tokens [0, 64), [64, 128), ...; the index still owns them
    size_t tokens = 0;           // 64 * blocks.size()
  };

  PrefixIndex(std::unique_ptr<const BlockHasher> hasher, std::function<void(Handle)> release);
  ~PrefixIndex();
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // The longest known prefix of `tokens` in whole blocks. Counts as a use of it.
  Match longest(const PrefixSeed& seed, std::span<const TokenId> tokens);

  // The same without counting as a use.
  Match known(const PrefixSeed& seed, std::span<const TokenId> tokens) const;

  // Hands over the handles of blocks first, first + 1, ... of the prefix `tokens` (64 * (first + handles.size())
  // tokens). A block that is there already keeps its handle and the new one is released; so is every handle if a block
  // before `first` is not there (any more). Counts as a use. Returns how many handles were kept.
  size_t insert(const PrefixSeed& seed, std::span<const TokenId> tokens, size_t first, std::span<const Handle> handles);

  // Drops the least recently used block; false if there is none.
  bool evict_one();
  // The same among leaves for which `frees` holds (pages that nobody else uses). Passes over the others.
  bool evict_one(const std::function<bool(Handle)>& frees);
  void clear();

  size_t size() const { return blocks_; }
  const PrefixStats& stats() const { return stats_; }

 private:
  using NodeId = uint32_t;
  static constexpr NodeId kNone = UINT32_MAX;

  struct Node {
    BlockHash hash;
    NodeId parent = kNone;  // kNone: a root
    uint32_t children = 0;
    NodeId newer = kNone;  // neighbours in the order of use; roots are in no list
    NodeId older = kNone;
    Handle handle = 0;
    std::array<TokenId, kPrefixBlock> tokens{};
    std::string identity{};  // of a root
  };
  struct HashOfHash {
    size_t operator()(const BlockHash& h) const { return h.low; }
  };

  NodeId walk(NodeId at, std::span<const TokenId> tokens, std::vector<Handle>* found) const;
  NodeId attach(NodeId parent, std::span<const TokenId, kPrefixBlock> tokens, Handle handle);
  NodeId find_root(const std::string& identity) const;
  NodeId add_root(const std::string& identity);
  NodeId find_child(NodeId parent, const BlockHash& hash, std::span<const TokenId, kPrefixBlock> tokens) const;
  NodeId add(Node node);  // children and the order of use are the caller's
  void drop(NodeId id);
  void drop_root_if_bare(NodeId id);
  void touch(NodeId leaf);
  void unlink(NodeId id);
  void push_front(NodeId id);

  std::unique_ptr<const BlockHasher> hasher_;
  std::function<void(Handle)> release_;
  std::vector<Node> nodes_;
  std::vector<NodeId> free_;
  std::unordered_map<BlockHash, NodeId, HashOfHash> by_hash_;
  NodeId newest_ = kNone;
  NodeId oldest_ = kNone;
  size_t blocks_ = 0;
  PrefixStats stats_;
};

}  // namespace loci

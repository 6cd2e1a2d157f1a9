#include "cache/prefix_index.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace loci {
namespace {

std::span<const TokenId, kPrefixBlock> block(std::span<const TokenId> tokens, size_t index) {
  return tokens.subspan(index * kPrefixBlock).first<kPrefixBlock>();
}

}  // namespace

PrefixIndex::PrefixIndex(std::unique_ptr<const BlockHasher> hasher, std::function<void(Handle)> release)
    : hasher_(std::move(hasher)), release_(std::move(release)) {}

PrefixIndex::~PrefixIndex() { clear(); }

PrefixIndex::Match PrefixIndex::longest(const PrefixSeed& seed, std::span<const TokenId> tokens) {
  Match match;
  const NodeId end = walk(find_root(identity(seed)), tokens, &match.blocks);
  match.tokens = match.blocks.size() * kPrefixBlock;
  ++stats_.lookups;
  stats_.hits += match.blocks.empty() ? 0 : 1;
  stats_.blocks_hit += match.blocks.size();
  if (end != kNone) touch(end);
  return match;
}

PrefixIndex::Match PrefixIndex::known(const PrefixSeed& seed, std::span<const TokenId> tokens) const {
  Match match;
  walk(find_root(identity(seed)), tokens, &match.blocks);
  match.tokens = match.blocks.size() * kPrefixBlock;
  return match;
}

size_t PrefixIndex::insert(const PrefixSeed& seed, std::span<const TokenId> tokens, size_t first,
                           std::span<const Handle> handles) {
  LOCI_ASSERT(tokens.size() == (first + handles.size()) * kPrefixBlock, "a prefix is inserted in whole blocks");
  if (handles.empty()) return 0;
  const uint64_t before = stats_.inserted;
  const NodeId root = first == 0 ? add_root(identity(seed)) : find_root(identity(seed));
  std::vector<Handle> above;
  NodeId at = walk(root, tokens.first(first * kPrefixBlock), &above);
  if (above.size() < first) at = kNone;
  NodeId deepest = at;
  for (size_t i = 0; i < handles.size(); ++i) {
    if (at == kNone) {
      release_(handles[i]);  // nothing hangs below a block that is not there
      continue;
    }
    at = attach(at, block(tokens, first + i), handles[i]);
    if (at != kNone) deepest = at;
  }
  if (deepest != kNone) {
    touch(deepest);
    drop_root_if_bare(deepest);
  }
  return stats_.inserted - before;
}

// Follows `tokens` down from `at` as far as they are known; `found` gets the handles passed.
PrefixIndex::NodeId PrefixIndex::walk(NodeId at, std::span<const TokenId> tokens, std::vector<Handle>* found) const {
  if (at == kNone) return kNone;
  for (size_t i = 0; i < tokens.size() / kPrefixBlock; ++i) {
    const auto wanted = block(tokens, i);
    const NodeId next = find_child(at, hasher_->next(nodes_[at].hash, wanted), wanted);
    if (next == kNone) break;
    at = next;
    found->push_back(nodes_[at].handle);
  }
  return at;
}

// The child of `parent` with these tokens: the one that is there, or a new one with this handle. kNone if another node
// has its number.
PrefixIndex::NodeId PrefixIndex::attach(NodeId parent, std::span<const TokenId, kPrefixBlock> tokens, Handle handle) {
  const BlockHash hash = hasher_->next(nodes_[parent].hash, tokens);
  const NodeId known = find_child(parent, hash, tokens);
  if (known != kNone || by_hash_.contains(hash)) {
    ++stats_.duplicates;
    release_(handle);
    return known;
  }
  Node node{.hash = hash, .parent = parent, .handle = handle};
  std::copy(tokens.begin(), tokens.end(), node.tokens.begin());
  const NodeId id = add(std::move(node));
  ++nodes_[parent].children;
  push_front(id);
  ++blocks_;
  ++stats_.inserted;
  return id;
}

bool PrefixIndex::evict_one() {
  if (oldest_ == kNone) return false;
  LOCI_ASSERT(nodes_[oldest_].children == 0, "the least recently used block is a leaf");
  drop(oldest_);
  ++stats_.evicted;
  return true;
}

bool PrefixIndex::evict_one(const std::function<bool(Handle)>& frees) {
  for (NodeId id = oldest_; id != kNone; id = nodes_[id].newer) {
    if (nodes_[id].children > 0 || !frees(nodes_[id].handle)) continue;
    drop(id);
    ++stats_.evicted;
    return true;
  }
  return false;
}

void PrefixIndex::clear() {
  while (oldest_ != kNone) drop(oldest_);
}

PrefixIndex::NodeId PrefixIndex::find_root(const std::string& identity) const {
  const auto found = by_hash_.find(hasher_->root(identity));
  if (found == by_hash_.end()) return kNone;
  const Node& node = nodes_[found->second];
  return node.parent == kNone && node.identity == identity ? found->second : kNone;
}

// kNone if another node has its number.
PrefixIndex::NodeId PrefixIndex::add_root(const std::string& identity) {
  const NodeId known = find_root(identity);
  const BlockHash hash = hasher_->root(identity);
  if (known != kNone || by_hash_.contains(hash)) return known;
  return add({.hash = hash, .identity = identity});
}

PrefixIndex::NodeId PrefixIndex::find_child(NodeId parent, const BlockHash& hash,
                                            std::span<const TokenId, kPrefixBlock> tokens) const {
  const auto found = by_hash_.find(hash);
  if (found == by_hash_.end()) return kNone;
  const Node& node = nodes_[found->second];
  return node.parent == parent && std::equal(tokens.begin(), tokens.end(), node.tokens.begin()) ? found->second : kNone;
}

PrefixIndex::NodeId PrefixIndex::add(Node node) {
  NodeId id;
  if (free_.empty()) {
    id = static_cast<NodeId>(nodes_.size());
    LOCI_ASSERT(id != kNone, "block numbers of the prefix index are used up");
    nodes_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  by_hash_.emplace(node.hash, id);
  nodes_[id] = std::move(node);
  return id;
}

void PrefixIndex::drop(NodeId id) {
  const NodeId parent = nodes_[id].parent;
  const Handle handle = nodes_[id].handle;
  unlink(id);
  by_hash_.erase(nodes_[id].hash);
  free_.push_back(id);
  --blocks_;
  --nodes_[parent].children;
  drop_root_if_bare(parent);
  release_(handle);
}

void PrefixIndex::drop_root_if_bare(NodeId id) {
  if (nodes_[id].parent != kNone || nodes_[id].children > 0) return;
  by_hash_.erase(nodes_[id].hash);
  nodes_[id] = {};
  free_.push_back(id);
}

// From the leaf up, so that parents come to stand before their children.
void PrefixIndex::touch(NodeId leaf) {
  for (NodeId id = leaf; nodes_[id].parent != kNone; id = nodes_[id].parent) {
    unlink(id);
    push_front(id);
  }
}

void PrefixIndex::unlink(NodeId id) {
  Node& node = nodes_[id];
  (node.newer == kNone ? newest_ : nodes_[node.newer].older) = node.older;
  (node.older == kNone ? oldest_ : nodes_[node.older].newer) = node.newer;
}

void PrefixIndex::push_front(NodeId id) {
  Node& node = nodes_[id];
  node.newer = kNone;
  node.older = newest_;
  (newest_ == kNone ? oldest_ : nodes_[newest_].newer) = id;
  newest_ = id;
}

}  // namespace loci

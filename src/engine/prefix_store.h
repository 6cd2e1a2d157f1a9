// Pages of finished prompts, kept for later prompts that begin alike, of all plans of an engine. Binds the prefix index
// to the page pool: a block of the index is one stripe of every layer, on which it holds references.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/registry/method.h"
#include "cache/prefix_index.h"
#include "engine/chunking.h"
#include "engine/sequence.h"
#include "engine/snapshots.h"

namespace loci {

class PrefixStore final : public Snapshots::Source {
 public:
  // `model` is the model's fingerprint; `pool` outlives the store.
  static Result<std::unique_ptr<PrefixStore>> make(PagePool& pool, std::string model);

  // Lets a sequence of which nothing is fed begin with the longest known prefix of its tokens, short of the last ones
  // that must be fed, in whole cells. Returns its tokens.
  uint32_t adopt(Sequence& sequence);
  // Remembers the whole prompt blocks and cells that `sequence` has fed. Call it before anything is given back.
  void remember(Sequence& sequence);
  // What names the entries of its prompt, and how many of its tokens may come from elsewhere.
  PrefixSeed seed_of(const Sequence& sequence) const;
  static std::span<const TokenId> shared_tokens(const Sequence& sequence);
  // Blocks of a prefix that are here.
  uint32_t known(const PrefixSeed& seed, std::span<const TokenId> tokens) const {
    return static_cast<uint32_t>(index_.known(seed, tokens).blocks.size());
  }
  // Takes block `block` of a prefix from elsewhere, its pages in the groups of its stripes; references on them are the
  // store's from now on. False: the blocks before it have left.
  bool put(const PrefixSeed& seed, std::span<const TokenId> tokens, uint32_t block,
           std::vector<std::pair<PageGroup, std::vector<PageId>>> stripes);
  std::vector<BlockCopy> copy(const PrefixSeed& seed, std::span<const TokenId> tokens, uint32_t first,
                              uint32_t count) const override;
  // Gives up the block that was used longest ago; false if there is none.
  bool evict_one() { return index_.evict_one(); }
  // Every page of every block, once for each reference held.
  template <typename Visit>
  void for_each_page(const Visit& visit) const {
    for (const Block& block : blocks_) {
      for (const Block::Stripe& stripe : block.stripes) {
        for (const PageId page : stripe.pages) visit(stripe.group, page);
      }
    }
  }
  const PrefixStats& stats() const { return index_.stats(); }
  size_t blocks() const { return index_.size(); }
  uint64_t pages() const { return pages_; }  // that it holds references on

 private:
  struct Block {
    struct Stripe {
      PageGroup group;
      std::vector<PageId> pages;
    };
    std::vector<Stripe> stripes;  // table by table
  };

  PrefixStore(PagePool& pool, std::string model, std::unique_ptr<const BlockHasher> hasher);
  PrefixIndex::Handle new_handle();
  PrefixIndex::Handle hold(const SequenceCache& cache, uint32_t block);
  void drop(PrefixIndex::Handle handle);

  PagePool& pool_;
  std::string model_;
  std::vector<Block> blocks_;
  std::vector<PrefixIndex::Handle> free_;
  uint64_t pages_ = 0;
  PrefixIndex index_;
};

}  // namespace loci

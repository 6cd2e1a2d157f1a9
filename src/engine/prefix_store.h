// Pages of finished prompts, kept for later prompts that begin alike, of all plans of an engine. Binds the prefix index
// to the page pool: a block of the index is one stripe of every layer, on which it holds references.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/registry/method.h"
#include "cache/prefix_index.h"
#include "engine/chunking.h"
#include "engine/sequence.h"

namespace loci {

class PrefixStore {
 public:
  // `model` is the model's fingerprint; `pool` outlives the store.
  static Result<std::unique_ptr<PrefixStore>> make(PagePool& pool, std::string model);

  // Lets a sequence of which nothing is fed begin with the longest known prefix of its tokens, short of the last ones
  // that must be fed, in whole cells. Returns its tokens.
  uint32_t adopt(Sequence& sequence);
  // Remembers the whole prompt blocks and cells that `sequence` has fed. Call it before anything is given back.
  void remember(Sequence& sequence);
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

 private:
  struct Block {
    struct Stripe {
      PageGroup group;
      std::vector<PageId> pages;
    };
    std::vector<Stripe> stripes;  // table by table
  };

  PrefixStore(PagePool& pool, std::string model, std::unique_ptr<const BlockHasher> hasher);
  PrefixSeed seed_of(const Sequence& sequence) const;
  PrefixIndex::Handle hold(const SequenceCache& cache, uint32_t block);
  void drop(PrefixIndex::Handle handle);

  PagePool& pool_;
  std::string model_;
  std::vector<Block> blocks_;
  std::vector<PrefixIndex::Handle> free_;
  PrefixIndex index_;
};

}  // namespace loci

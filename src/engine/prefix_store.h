// Pages of finished prompts, kept for later prompts that begin alike. Binds the prefix index to the page pool: a block
// of the index is one stripe of every layer, on which it holds references.
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
  // `seed` names what must agree besides the tokens and what requests declare of `declared`.
  static Result<std::unique_ptr<PrefixStore>> make(const CacheLayout& layout, PrefixSeed seed,
                                                   Set<RequestData> declared);

  // Lets a sequence of which nothing is fed begin with the longest known prefix of its tokens, short of the last ones
  // that must be fed, in whole cells. Returns its tokens.
  uint32_t adopt(Sequence& sequence, const Chunking& chunking);
  // Remembers the whole prompt blocks and cells that `sequence` has fed. Call it before anything is given back.
  void remember(Sequence& sequence, const Chunking& chunking);
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

 private:
  struct Block {
    struct Stripe {
      PageGroup group;
      std::vector<PageId> pages;
    };
    std::vector<Stripe> stripes;  // table by table
  };

  PrefixStore(const CacheLayout& layout, PrefixSeed seed, Set<RequestData> declared,
              std::unique_ptr<const BlockHasher> hasher);
  PrefixSeed seed_of(const Sequence& sequence) const;
  PrefixIndex::Handle hold(const SequenceCache& cache, uint32_t block);
  void drop(PrefixIndex::Handle handle);

  const CacheLayout& layout_;
  PrefixSeed seed_;
  Set<RequestData> declared_;
  std::vector<Block> blocks_;
  std::vector<PrefixIndex::Handle> free_;
  PrefixIndex index_;
};

}  // namespace loci

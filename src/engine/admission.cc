#include "engine/admission.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

#include "base/checked.h"

namespace loci {
namespace {

struct HeldPage {
  uint32_t group;
  uint32_t page;
  bool operator<(const HeldPage& other) const { return std::tie(group, page) < std::tie(other.group, other.page); }
  bool operator==(const HeldPage& other) const { return group == other.group && page == other.page; }
};

template <typename Visit>
void for_each_page(const Table& table, const Visit& visit) {
  for (uint32_t s = 0; s < table.stripes(); ++s) {
    if (!table.stripe_present(s)) continue;
    for (const PageId page : table.stripe(s)) visit(page);
  }
}

// The references of the prefix cache and of chosen sequences.
class Holders {
 public:
  // Begins with the prefix cache's.
  explicit Holders(const Core& core) : pool_(core.pages()) {
    if (core.prefix_store() != nullptr) {
      core.prefix_store()->for_each_page([&](PageGroup group, PageId page) { add(group, page); });
    }
    std::sort(held_.begin(), held_.end());
  }

  void add(const CacheLayout& layout, std::span<const Claim> claims) {
    for (const Claim& claim : claims) {
      for (uint32_t i = 0; i < layout.layers(); ++i) {
        for (const Table& table : claim.sequence->cache.tables(LayerId(i)))
          for_each_page(table, [&](PageId page) { add(table.group(), page); });
      }
    }
    std::sort(held_.begin(), held_.end());
  }

  // References to the page that none of these hold.
  uint64_t outsiders(PageGroup group, PageId page) const {
    const auto range = std::equal_range(held_.begin(), held_.end(), HeldPage{group.index, page.value});
    return pool_.references(group, page) - static_cast<uint64_t>(range.second - range.first);
  }

  // Of pages that nobody else holds.
  uint64_t bytes_without_outsiders() const {
    uint64_t bytes = 0;
    for (size_t i = 0; i < held_.size(); ++i) {
      if (i > 0 && held_[i - 1] == held_[i]) continue;
      const PageGroup group{held_[i].group};
      if (outsiders(group, PageId(held_[i].page)) == 0) bytes += pool_.page_bytes(group);
    }
    return bytes;
  }

 private:
  void add(PageGroup group, PageId page) { held_.push_back({group.index, page.value}); }

  const PagePool& pool_;
  std::vector<HeldPage> held_;  // once for each reference
};

// New pages that `table` takes until it has `more` entries more. `shared` says of a page that is open whether it must
// be copied.
template <typename Shared>
uint64_t new_pages(const Table& table, uint32_t more, const Shared& shared) {
  if (more == 0) return 0;
  const uint64_t end = div_up(uint64_t{table.length()} + more, kPageSlots);
  uint64_t pages = (end - std::min<uint64_t>(end, table.stripes())) * table.heads().size();
  for (uint32_t s = table.length() / kPageSlots; s < table.stripes(); ++s) {
    for (const PageId page : table.stripe(s)) pages += shared(page) ? 1 : 0;
  }
  return pages;
}

uint32_t growth(const Claim& claim) {
  return claim.most_fed - std::min(claim.most_fed, claim.sequence->cache.tokens());
}

// Visits the tables of `layer` that the claims hold.
template <typename Visit>
void for_each_table(LayerId layer, std::span<const Claim> claims, const Visit& visit) {
  for (const Claim& claim : claims) {
    for (const Table& table : claim.sequence->cache.tables(layer)) visit(claim, table);
  }
}

LayerBytes layer_bytes(LayerId layer, const Claim& claim) {
  const PlanLayout& layout = claim.sequence->plan->layout;
  return layout.stages->layer_bytes(layout.layers[layer.value], layer, claim.prompt, claim.most_fed,
                                    layout.chunking.most_span());
}

// Bytes that the claims take of `layer` from now on, if nothing is given back.
template <typename Shared>
uint64_t grown_bytes(const PagePool& pool, LayerId layer, std::span<const Claim> claims, const Shared& shared) {
  uint64_t bytes = 0;
  for_each_table(layer, claims, [&](const Claim& claim, const Table& table) {
    bytes += pool.page_bytes(table.group()) *
             new_pages(table, growth(claim), [&](PageId page) { return shared(table.group(), page); });
  });
  return bytes;
}

// Of `layer`, held by claims and by nobody else but the prefix cache.
uint64_t own_bytes(const PagePool& pool, LayerId layer, std::span<const Claim> claims, const Holders& known) {
  std::set<HeldPage> pages;
  for_each_table(layer, claims, [&](const Claim&, const Table& table) {
    for_each_page(table, [&](PageId page) { pages.insert({table.group().index, page.value}); });
  });
  uint64_t bytes = 0;
  for (const HeldPage& held : pages) {
    if (known.outsiders({held.group}, PageId(held.page)) == 0) bytes += pool.page_bytes({held.group});
  }
  return bytes;
}

// The most that claims hold of `layer` by the plan, each by itself: no bound for what was edited for an earlier prompt.
uint64_t peak_bytes(LayerId layer, std::span<const Claim> claims) {
  uint64_t bytes = 0;
  for (const Claim& claim : claims) {
    if (claim.sequence->cache.edited() > 0) return UINT64_MAX;
    const LayerBytes one = layer_bytes(layer, claim);
    bytes += std::max(one.reading, one.writing);
  }
  return bytes;
}

// What compacting takes on top, a layer at a time.
uint64_t copied_bytes(std::span<const Claim> claims) {
  uint64_t bytes = 0;
  for (const Claim& claim : claims) {
    uint64_t most = 0;
    const auto layers = static_cast<uint32_t>(claim.sequence->plan->layout.layers.size());
    for (uint32_t i = 0; i < layers; ++i) most = std::max(most, layer_bytes(LayerId(i), claim).copied);
    bytes += most;
  }
  return bytes;
}

}  // namespace

uint64_t compaction_bytes(const Core& core, std::span<const Claim> ending) {
  const PagePool& pool = core.pages();
  const uint64_t copied = copied_bytes(ending);  // of each, though they follow each other
  if (copied == 0) return 0;
  // Mostly there is room enough even if nobody gives anything back.
  uint64_t most = copied;
  const auto for_each_layer = [&](const auto& visit) {
    for (const Claim& claim : ending) {
      const auto layers = static_cast<uint32_t>(claim.sequence->plan->layout.layers.size());
      for (uint32_t i = 0; i < layers; ++i) {
        const LayerBytes layer = layer_bytes(LayerId(i), claim);
        if (layer.copied > 0) visit(claim, i, layer);
      }
    }
  };
  for_each_layer([&](const Claim&, uint32_t, const LayerBytes& layer) { most += layer.writing; });
  if (pool.bytes_in_use() + most <= pool.budget_bytes()) return most;
  const Holders prefix(core);
  uint64_t bytes = copied;
  for_each_layer([&](const Claim& claim, uint32_t i, const LayerBytes& layer) {
    uint64_t stays = 0;
    for (const Table& table : claim.sequence->cache.tables(LayerId(i))) {
      for_each_page(table, [&](PageId page) {
        if (prefix.outsiders(table.group(), page) > 1) stays += pool.page_bytes(table.group());
      });
    }
    bytes += std::min(layer.writing, stays);
  });
  return bytes;
}

Status fits(const Core& core, std::span<const Claim> claims, std::span<const Claim> leaving) {
  const CacheLayout& layout = core.cache_layout();
  const PagePool& pool = core.pages();
  const PoolCounters counters = pool.counters();
  const uint64_t copied = copied_bytes(claims);
  // Mostly there is room enough even if nobody gives anything back.
  uint64_t most = counters.bytes_in_use + copied;
  for (uint32_t i = 0; i < layout.layers(); ++i) {
    most += grown_bytes(pool, LayerId(i), claims,
                        [&](PageGroup group, PageId page) { return pool.references(group, page) > 1; });
  }
  if (most <= counters.budget_bytes) return {};

  const Holders prefix(core);
  Holders known = prefix;
  known.add(layout, claims);
  known.add(layout, leaving);
  const uint64_t others = counters.bytes_in_use - known.bytes_without_outsiders();
  uint64_t needed = copied;
  for (uint32_t i = 0; i < layout.layers(); ++i) {
    const LayerId layer(i);
    const uint64_t grown = own_bytes(pool, layer, claims, known) +
                           grown_bytes(pool, layer, claims,
                                       [&](PageGroup group, PageId page) { return prefix.outsiders(group, page) > 1; });
    needed += std::min(peak_bytes(layer, claims), grown);
  }
  if (others + needed <= counters.budget_bytes) return {};
  const auto mib = [](uint64_t bytes) { return static_cast<double>(bytes) / 0x1p20; };
  return fail(ErrorCode::kLimit,
              "{:.2f} MiB of cache are needed, but of its {:.2f} MiB open sessions hold {:.2f}; close sessions, lower "
              "the number of tokens or raise the batch",
              mib(needed), mib(counters.budget_bytes), mib(others));
}

}  // namespace loci

#include "engine/prefix_store.h"

#include <algorithm>

namespace loci {
namespace {

// What `facts` says of the data that prompt entries depend on, as one text: different data, different texts.
std::string text_of(const RequestFacts& facts, Set<RequestData> declared) {
  std::string out;
  if (declared.has(RequestData::kTotalLength)) out += fmt::format("|total={}", facts.total_tokens);
  if (declared.has(RequestData::kSeed)) out += fmt::format("|seed={}", facts.seed);
  if (declared.has(RequestData::kTask)) out += fmt::format("|task={}:{}", facts.task.size(), facts.task);
  if (!declared.has(RequestData::kSpans)) return out;
  for (const LabelledSpan& span : facts.spans)
    out += fmt::format("|span={}:{}:{}+{}", span.label.size(), span.label, span.first, span.count);
  return out;
}

}  // namespace

Result<std::unique_ptr<PrefixStore>> PrefixStore::make(PagePool& pool, std::string model) {
  LOCI_TRY(const KeyedHasher::Secret secret, KeyedHasher::random_secret());
  return std::unique_ptr<PrefixStore>(new PrefixStore(pool, std::move(model), std::make_unique<KeyedHasher>(secret)));
}

PrefixStore::PrefixStore(PagePool& pool, std::string model, std::unique_ptr<const BlockHasher> hasher)
    : pool_(pool),
      model_(std::move(model)),
      index_(std::move(hasher), [this](PrefixIndex::Handle handle) { drop(handle); }) {}

PrefixSeed PrefixStore::seed_of(const Sequence& sequence) const {
  return {.model = model_,
          .plan = sequence.plan->prefix_key + text_of(sequence.facts, sequence.plan->prefix_data),
          .salt = sequence.salt};
}

PrefixIndex::Handle PrefixStore::new_handle() {
  if (free_.empty()) {
    blocks_.emplace_back();
    return blocks_.size() - 1;
  }
  const PrefixIndex::Handle handle = free_.back();
  free_.pop_back();
  return handle;
}

PrefixIndex::Handle PrefixStore::hold(const SequenceCache& cache, uint32_t block) {
  const PrefixIndex::Handle handle = new_handle();
  for (const SharedStripe& stripe : cache.block_pages(block)) {
    blocks_[handle].stripes.push_back({stripe.group, {stripe.pages.begin(), stripe.pages.end()}});
    for (const PageId page : stripe.pages) pool_.retain(stripe.group, page);
    pages_ += stripe.pages.size();
  }
  return handle;
}

void PrefixStore::drop(PrefixIndex::Handle handle) {
  Block& block = blocks_[handle];
  for (const Block::Stripe& stripe : block.stripes) {
    for (const PageId page : stripe.pages) pool_.release(stripe.group, page);
    pages_ -= stripe.pages.size();
  }
  block.stripes.clear();
  free_.push_back(handle);
}

std::span<const TokenId> PrefixStore::shared_tokens(const Sequence& sequence) {
  const Chunking& chunking = sequence.plan->layout.chunking;
  return std::span(sequence.tokens).first(chunking.most_shared(static_cast<uint32_t>(sequence.tokens.size())));
}

uint32_t PrefixStore::adopt(Sequence& sequence) {
  const Chunking& chunking = sequence.plan->layout.chunking;
  PrefixIndex::Match match = index_.longest(seed_of(sequence), shared_tokens(sequence));
  const uint32_t tokens = static_cast<uint32_t>(match.tokens) / chunking.cell * chunking.cell / kPageSlots * kPageSlots;
  match.blocks.resize(tokens / kPageSlots);
  for (const PrefixIndex::Handle handle : match.blocks) {
    std::vector<SharedStripe> stripes;
    for (const Block::Stripe& stripe : blocks_[handle].stripes) stripes.push_back({stripe.group, stripe.pages});
    sequence.cache.append_block(stripes);
  }
  sequence.cache.release_passed();
  sequence.remembered_blocks = static_cast<uint32_t>(match.blocks.size());
  return tokens;
}

void PrefixStore::remember(Sequence& sequence) {
  const Chunking& chunking = sequence.plan->layout.chunking;
  // What is read after an edit has seen less than the prompt that the index names.
  if (!sequence.cache.shareable() || sequence.cache.edited() > 0) return;
  // The last cell may have been cut short by the prompt's end.
  const uint32_t fed = std::min(sequence.cache.tokens(), sequence.prompt_tokens) / chunking.cell * chunking.cell;
  const uint32_t blocks = fed / kPageSlots;
  if (blocks <= sequence.remembered_blocks) return;
  std::vector<PrefixIndex::Handle> handles;
  for (uint32_t block = sequence.remembered_blocks; block < blocks; ++block)
    handles.push_back(hold(sequence.cache, block));
  index_.insert(seed_of(sequence), std::span(sequence.tokens).first(size_t{blocks} * kPageSlots),
                sequence.remembered_blocks, handles);
  sequence.remembered_blocks = blocks;
}

bool PrefixStore::put(const PrefixSeed& seed, std::span<const TokenId> tokens, uint32_t block,
                      std::vector<std::pair<PageGroup, std::vector<PageId>>> stripes) {
  const PrefixIndex::Handle handle = new_handle();
  for (auto& [group, pages] : stripes) {
    pages_ += pages.size();
    blocks_[handle].stripes.push_back({group, std::move(pages)});
  }
  return index_.insert(seed, tokens.first((size_t{block} + 1) * kPageSlots), block, std::span(&handle, 1)) > 0;
}

std::vector<BlockCopy> PrefixStore::copy(const PrefixSeed& seed, std::span<const TokenId> tokens, uint32_t first,
                                         uint32_t count) const {
  const PrefixIndex::Match match = index_.known(seed, tokens.first((size_t{first} + count) * kPageSlots));
  std::vector<BlockCopy> out;
  for (size_t b = first; b < match.blocks.size(); ++b) {
    BlockCopy& copy = out.emplace_back();
    for (const Block::Stripe& stripe : blocks_[match.blocks[b]].stripes) {
      copy.stripes.push_back(static_cast<uint32_t>(stripe.pages.size()));
      for (const PageId page : stripe.pages) {
        const std::byte* const bytes = pool_.data(stripe.group, page);
        copy.pages.insert(copy.pages.end(), bytes, bytes + pool_.page_bytes(stripe.group));
      }
    }
  }
  return out;
}

}  // namespace loci

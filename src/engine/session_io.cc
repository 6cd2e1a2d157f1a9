#include "engine/session_io.h"

#include <algorithm>
#include <cstring>

#include "engine/session_file.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

// "sequence" holds a Head. Of each layer, "layer/0/tables" holds its tables' descriptions; of its table 1,
// "layer/0/1/positions" the positions of its slots, if they are not 0, 1, 2, ..., and "layer/0/1/pages" its pages,
// stripe by stripe and head by head, but for those given back. "state/2/0/name" is an array that method 2 of the plan
// keeps in layer 0.
std::string table_section(uint32_t layer, size_t table, const char* what) {
  return fmt::format("layer/{}/{}/{}", layer, table, what);
}

constexpr const char* kHeadSection = "sequence";
constexpr std::string_view kStatePrefix = "state/";

struct Head {
  uint32_t prompt_tokens;
  uint32_t fed_tokens;
  uint32_t edited_tokens;
  uint32_t facts_prompt;
  uint32_t facts_total;
  uint32_t reserved;
  uint64_t seed;
};

// A table, as words: these, then its heads, then a bit per stripe that says whether it is there.
struct TableHead {
  uint32_t heads;
  uint32_t length;
  uint32_t affine;
  uint32_t sinks, window, granule, floor;
};
constexpr size_t kTableWords = sizeof(TableHead) / sizeof(uint32_t);

uint32_t stripes_of(uint32_t length) { return (length + kPageSlots - 1) / kPageSlots; }
uint32_t presence_words(uint32_t length) { return (stripes_of(length) + 31) / 32; }

std::vector<uint32_t> describe(const SequenceCache& cache, LayerId layer) {
  std::vector<uint32_t> words;
  for (size_t t = 0; t < cache.tables(layer).size(); ++t) {
    const Table& table = cache.tables(layer)[t];
    const Pattern& pattern = cache.pattern(layer, t);
    words.insert(words.end(), {static_cast<uint32_t>(table.heads().size()), table.length(), table.affine() ? 1u : 0u,
                               pattern.sinks, pattern.window, pattern.granule, pattern.floor});
    for (const KvHead head : table.heads()) words.push_back(head.value);
    const size_t bits = words.size();
    words.resize(bits + presence_words(table.length()), 0);
    for (uint32_t s = 0; s < stripes_of(table.length()); ++s) {
      if (table.stripe_present(s)) words[bits + s / 32] |= 1u << (s % 32);
    }
  }
  return words;
}

Status write_table(SessionWriter& writer, uint32_t layer, size_t index, const Table& table) {
  if (!table.affine()) {
    std::vector<uint32_t> positions;
    for (uint32_t slot = 0; slot < table.length(); ++slot) positions.push_back(table.position(SlotId(slot)).value);
    LOCI_CHECK(writer.section(table_section(layer, index, "positions"), std::as_bytes(std::span(positions))));
  }
  uint64_t present = 0;
  for (uint32_t s = 0; s < stripes_of(table.length()); ++s) present += table.stripe_present(s);
  const uint64_t bytes = present * table.heads().size() * table.layout().bytes;
  return writer.section(table_section(layer, index, "pages"), bytes, [&](SessionWriter::Sink& sink) -> Status {
    for (uint32_t s = 0; s < stripes_of(table.length()); ++s) {
      for (size_t h = 0; h < table.heads().size() && table.stripe_present(s); ++h)
        LOCI_CHECK(sink.write({table.page_of(SlotId(s * kPageSlots), h), table.layout().bytes}));
    }
    return {};
  });
}

// Reads the tables of one layer.
class LayerReader {
 public:
  LayerReader(Core& core, const BoundPlan& plan, const SessionReader& reader, const SequenceCache& empty,
              uint32_t layer, uint32_t tokens)
      : core_(core),
        reader_(reader),
        empty_(empty),
        shape_(plan.cache.shape(LayerId(layer))),
        layer_(layer),
        tokens_(tokens) {}

  Status read(std::vector<Table>& tables, std::vector<Pattern>& patterns) {
    name_ = fmt::format("layer/{}/tables", layer_);
    LOCI_TRY(const std::span<const std::byte> bytes, reader_.section(name_));
    if (bytes.size() % sizeof(uint32_t) != 0) return corrupt("is not made of whole words");
    words_.resize(bytes.size() / sizeof(uint32_t));
    std::memcpy(words_.data(), bytes.data(), bytes.size());
    std::vector<bool> seen(shape_.kv_heads, false);
    while (next_ < words_.size()) LOCI_CHECK(read_table(tables, patterns, seen));
    if (std::find(seen.begin(), seen.end(), false) != seen.end()) return corrupt("has no table for some KV head");
    return {};
  }

 private:
  Status corrupt(std::string_view what) const { return fail(ErrorCode::kCorrupt, "section '{}' {}", name_, what); }

  Status read_table(std::vector<Table>& tables, std::vector<Pattern>& patterns, std::vector<bool>& seen) {
    if (words_.size() - next_ < kTableWords) return corrupt("ends within a table");
    TableHead head;
    std::memcpy(&head, &words_[next_], sizeof head);
    next_ += kTableWords;
    if (head.heads == 0 || head.heads > shape_.kv_heads || head.length > tokens_ || head.affine > 1 ||
        head.granule == 0) {
      return corrupt(
          fmt::format("describes a table of {} heads and {} entries, but the layer has {} and the session {}",
                      head.heads, head.length, shape_.kv_heads, tokens_));
    }
    if (words_.size() - next_ < size_t{head.heads} + presence_words(head.length)) return corrupt("ends within a table");
    LOCI_TRY(std::vector<KvHead> heads, read_heads(head.heads, seen));
    const std::span<const uint32_t> present = std::span(words_).subspan(next_, presence_words(head.length));
    next_ += present.size();
    const Pattern pattern{.sinks = head.sinks, .window = head.window, .granule = head.granule, .floor = head.floor};
    const size_t index = tables.size();
    tables.push_back(empty_.empty_table(LayerId(layer_), std::move(heads)));
    patterns.push_back(pattern);
    LOCI_CHECK(fill(tables.back(), index, head, present));
    return check_presence(tables.back(), pattern);
  }

  Result<std::vector<KvHead>> read_heads(uint32_t count, std::vector<bool>& seen) {
    std::vector<KvHead> heads;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t head = words_[next_++];
      if (head >= shape_.kv_heads || seen[head] || (i > 0 && head <= heads.back().value))
        return corrupt(fmt::format("names KV head {} twice, out of order or beyond {}", head, shape_.kv_heads)).error();
      seen[head] = true;
      heads.push_back(KvHead(head));
    }
    return heads;
  }

  Status fill(Table& table, size_t index, const TableHead& head, std::span<const uint32_t> present) {
    LOCI_CHECK(append(table, index, head, present));
    const std::string name = table_section(layer_, index, "pages");
    LOCI_TRY(const std::span<const std::byte> data, reader_.section(name));
    const uint64_t stripe_bytes = uint64_t{table.layout().bytes} * table.heads().size();
    uint64_t stripes = 0;
    for (uint32_t s = 0; s < stripes_of(head.length); ++s) stripes += table.stripe_present(s);
    if (data.size() != stripes * stripe_bytes) {
      return fail(ErrorCode::kCorrupt, "section '{}' has {} bytes, but {} stripes of {} are there", name, data.size(),
                  stripes, stripe_bytes);
    }
    const std::byte* from = data.data();
    for (uint32_t s = 0; s < stripes_of(head.length); ++s) {
      for (size_t h = 0; h < table.heads().size() && table.stripe_present(s); ++h, from += table.layout().bytes) {
        // A NaN would spread: the weight of an unseen slot is 0, and 0 * NaN is NaN.
        if (!page_is_finite(table.layout(), from))
          return fail(ErrorCode::kCorrupt, "section '{}' has a page with a number that is not finite", name);
        std::memcpy(table.page_of(SlotId(s * kPageSlots), h), from, table.layout().bytes);
      }
    }
    reader_.release(data);
    return {};
  }

  // Slots at their positions; stripes that are not there take no page.
  Status append(Table& table, size_t index, const TableHead& head, std::span<const uint32_t> present) {
    std::span<const std::byte> positions;
    if (head.affine == 0) {
      LOCI_TRY(positions,
               reader_.section(table_section(layer_, index, "positions"), uint64_t{head.length} * sizeof(uint32_t)));
    }
    uint32_t least = 0;
    while (table.length() < head.length) {
      const uint32_t stripe = table.length() / kPageSlots;
      const bool there = (present[stripe / 32] >> (stripe % 32) & 1) != 0;
      if (!there) {
        if (head.affine == 0 || head.length - table.length() < kPageSlots)
          return corrupt("lacks a stripe that cannot have been given back");
        table.append_shared({});
        continue;
      }
      const uint32_t count = std::min(kPageSlots, head.length - table.length());
      LOCI_CHECK(core_.reserve(table, count));
      for (uint32_t i = 0; i < count; ++i) {
        uint32_t position = table.length();
        if (head.affine == 0) std::memcpy(&position, positions.data() + size_t{table.length()} * 4, 4);
        if (position < least || position >= tokens_) return corrupt("has positions that do not ascend");
        least = position + 1;
        table.append(TokenPos(position));
      }
    }
    return {};
  }

  // What the next query reads must be there.
  Status check_presence(const Table& table, const Pattern& pattern) const {
    const auto there = [&](uint32_t first, uint32_t end) {
      for (uint32_t s = first / kPageSlots; s * kPageSlots < end; ++s) {
        if (!table.stripe_present(s)) return false;
      }
      return true;
    };
    if (!there(0, table.slots_before(TokenPos(std::min(pattern.sinks, tokens_)))) ||
        !there(table.slots_before(TokenPos(pattern.oldest(tokens_))), table.length())) {
      return corrupt("lacks stripes that the next token reads");
    }
    return {};
  }

  Core& core_;
  const SessionReader& reader_;
  const SequenceCache& empty_;
  const LayerShape& shape_;
  uint32_t layer_;
  uint32_t tokens_;
  std::string name_;
  std::vector<uint32_t> words_;
  size_t next_ = 0;
};

Status write_state(SessionWriter& writer, const SequenceState& state) {
  for (const auto& [key, data] : state.arrays())
    LOCI_CHECK(writer.section(fmt::format("{}{}/{}/{}", kStatePrefix, key.method, key.layer, key.name), data));
  return {};
}

Status read_state(const SessionReader& reader, uint64_t most, uint32_t tokens, SequenceState& state) {
  uint64_t bytes = 0;
  for (const SessionReader::Section& section : reader.sections()) {
    if (!std::string_view(section.name).starts_with(kStatePrefix)) continue;
    unsigned method = 0, layer = 0;
    int used = 0;
    if (std::sscanf(section.name.c_str(), "state/%9u/%9u/%n", &method, &layer, &used) != 2 || used == 0) {
      return fail(ErrorCode::kCorrupt, "section '{}' names no method's array", section.name);
    }
    bytes += section.data.size();
    if (bytes > most) {
      return fail(ErrorCode::kCorrupt, "the methods' arrays have more than the {} bytes that the plan may use", most);
    }
    const std::span<std::byte> to =
        state.write({method, layer, section.name.substr(static_cast<size_t>(used))}, section.data.size(), tokens);
    std::copy(section.data.begin(), section.data.end(), to.begin());
  }
  return {};
}

Status check_head(const Head& head, const SessionHeader& file, const Core& core) {
  const size_t tokens = file.tokens.size();
  if (head.fed_tokens > tokens || head.prompt_tokens > tokens || head.edited_tokens > head.fed_tokens) {
    return fail(ErrorCode::kCorrupt, "the session says that {} tokens were fed and {} prompted, but it has {}",
                head.fed_tokens, head.prompt_tokens, tokens);
  }
  if (tokens > core.layout().context) {
    return fail(ErrorCode::kLimit, "the session has {} tokens, but the context holds {}; raise the context", tokens,
                core.layout().context);
  }
  const uint32_t vocabulary = core.model().config().vocabulary;
  for (const TokenId id : file.tokens) {
    if (id < 0 || static_cast<uint32_t>(id) >= vocabulary) {
      return fail(ErrorCode::kCorrupt, "the session has a token {}, but the vocabulary has {} tokens", id, vocabulary);
    }
  }
  return {};
}

}  // namespace

Status save_sequence(const Core& core, const Sequence& sequence, const std::string& path) {
  SessionHeader header{core.fingerprint(), sequence.plan->canonical, sequence.tokens};
  LOCI_TRY(SessionWriter writer, SessionWriter::begin(path, std::move(header)));
  const Head head{.prompt_tokens = sequence.prompt_tokens,
                  .fed_tokens = sequence.cache.tokens(),
                  .edited_tokens = sequence.cache.edited(),
                  .facts_prompt = sequence.facts.prompt_tokens,
                  .facts_total = sequence.facts.total_tokens,
                  .reserved = 0,
                  .seed = sequence.facts.seed};
  LOCI_CHECK(writer.section(kHeadSection, std::as_bytes(std::span(&head, 1))));
  for (uint32_t layer = 0; layer < sequence.plan->cache.layers(); ++layer) {
    const std::vector<uint32_t> words = describe(sequence.cache, LayerId(layer));
    LOCI_CHECK(writer.section(fmt::format("layer/{}/tables", layer), std::as_bytes(std::span(words))));
    const std::span<const Table> tables = sequence.cache.tables(LayerId(layer));
    for (size_t t = 0; t < tables.size(); ++t) LOCI_CHECK(write_table(writer, layer, t, tables[t]));
  }
  LOCI_CHECK(write_state(writer, sequence.state));
  return writer.commit();
}

Result<Sequence> load_sequence(Core& core, const std::string& path, std::shared_ptr<const BoundPlan> plan) {
  if (plan == nullptr) plan = core.plan();
  LOCI_TRY(const SessionReader reader, SessionReader::open(path));
  LOCI_CHECK(reader.expect(core.fingerprint(), plan->canonical));
  Sequence sequence(plan);
  sequence.tokens = reader.header().tokens;
  LOCI_TRY(const std::span<const std::byte> bytes, reader.section(kHeadSection, sizeof(Head)));
  Head head;
  std::memcpy(&head, bytes.data(), sizeof head);
  LOCI_CHECK(check_head(head, reader.header(), core));
  SequenceCache::Saved saved{.tables = {}, .patterns = {}, .tokens = head.fed_tokens, .edited = head.edited_tokens};
  for (uint32_t layer = 0; layer < plan->cache.layers(); ++layer) {
    saved.tables.emplace_back();
    saved.patterns.emplace_back();
    LOCI_CHECK(LayerReader(core, *plan, reader, sequence.cache, layer, head.fed_tokens)
                   .read(saved.tables.back(), saved.patterns.back()));
  }
  sequence.cache.restore(std::move(saved));
  const uint64_t most_state =
      plan->layout.stages->state_bytes({.rows = 1, .tokens = core.layout().context, .threads = 1});
  LOCI_CHECK(read_state(reader, most_state, head.fed_tokens, sequence.state));
  sequence.facts = {
      .prompt_tokens = head.facts_prompt, .total_tokens = head.facts_total, .seed = head.seed, .task = {}, .spans = {}};
  sequence.prompt_tokens = head.prompt_tokens;
  // Its blocks were not taken from this engine's prefix index, and its pages are its own.
  sequence.remembered_blocks = sequence.prompt_tokens / kPageSlots;
  return sequence;
}

}  // namespace loci

#include "engine/session_io.h"

#include <algorithm>
#include <cstring>

#include "engine/session_file.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

// Of a table: "layer/0/pages" holds its pages, stripe by stripe and head by head; pages that a window has passed are
// left out.
std::string section_name(uint32_t layer, const char* what) { return fmt::format("layer/{}/{}", layer, what); }

constexpr const char* kStateSection = "sequence";

struct State {
  uint32_t prompt_tokens;
  uint32_t fed_tokens;
};

uint32_t absent_stripes(const Table& table) { return table.first_slot().value / kPageSlots; }

Status write_pages(SessionWriter& writer, uint32_t layer, const Table& table) {
  const uint32_t absent = absent_stripes(table);
  const uint32_t stripes = static_cast<uint32_t>((table.length() + kPageSlots - 1) / kPageSlots);
  const uint64_t bytes = uint64_t{stripes - absent} * table.heads().size() * table.layout().bytes;
  return writer.section(section_name(layer, "pages"), bytes, [&](SessionWriter::Sink& sink) -> Status {
    for (uint32_t stripe = absent; stripe < stripes; ++stripe) {
      for (size_t h = 0; h < table.heads().size(); ++h) {
        LOCI_CHECK(sink.write({table.page_of(SlotId(stripe * kPageSlots), h), table.layout().bytes}));
      }
    }
    return {};
  });
}

// Stripes that a sliding window may have passed when `tokens` have been fed: the next query still reads window - 1
// before it.
uint64_t most_absent_stripes(uint32_t window, uint32_t tokens) {
  return window == 0 || tokens < window ? 0 : (tokens - window + 1) / kPageSlots;
}

Status read_pages(Core& core, const SessionReader& reader, uint32_t layer, uint32_t window, uint32_t tokens,
                  Table& table) {
  const std::string name = section_name(layer, "pages");
  LOCI_TRY(const std::span<const std::byte> data, reader.section(name));
  const uint64_t stripe_bytes = uint64_t{table.layout().bytes} * table.heads().size();
  const uint64_t stripes = (uint64_t{tokens} + kPageSlots - 1) / kPageSlots;
  if (data.size() % stripe_bytes != 0 || data.size() / stripe_bytes > stripes) {
    return fail(ErrorCode::kCorrupt, "section '{}' has {} bytes, which are not up to {} stripes of {}", name,
                data.size(), stripes, stripe_bytes);
  }
  const uint32_t absent = static_cast<uint32_t>(stripes - data.size() / stripe_bytes);
  if (absent > most_absent_stripes(window, tokens)) {
    return fail(ErrorCode::kCorrupt, "section '{}' lacks {} stripes of {} tokens, at most {} may be missing", name,
                absent, tokens, most_absent_stripes(window, tokens));
  }
  for (uint32_t stripe = 0; stripe < absent; ++stripe) table.append_shared({});
  LOCI_CHECK(core.reserve(table, tokens - table.length()));
  while (table.length() < tokens) table.append(TokenPos(table.length()));
  const std::byte* from = data.data();
  for (uint32_t stripe = absent; stripe < stripes; ++stripe) {
    for (size_t h = 0; h < table.heads().size(); ++h, from += table.layout().bytes) {
      // A NaN would spread: the weight of an unseen slot is 0, and 0 * NaN is NaN.
      if (!page_is_finite(table.layout(), from)) {
        return fail(ErrorCode::kCorrupt, "section '{}' has a page with a number that is not finite", name);
      }
      std::memcpy(table.page_of(SlotId(stripe * kPageSlots), h), from, table.layout().bytes);
    }
  }
  reader.release(data);
  return {};
}

}  // namespace

Status save_sequence(const Core& core, const Sequence& sequence, const std::string& path) {
  if (!sequence.cache.shareable()) {
    return fail(ErrorCode::kUnsupported, "a session whose heads keep different tokens cannot be saved");
  }
  SessionHeader header{core.fingerprint(), core.layout().attention.canonical(), sequence.tokens};
  LOCI_TRY(SessionWriter writer, SessionWriter::begin(path, std::move(header)));
  const State state{sequence.prompt_tokens, sequence.cache.tokens()};
  LOCI_CHECK(writer.section(kStateSection, std::as_bytes(std::span(&state, 1))));
  for (uint32_t layer = 0; layer < core.cache_layout().layers(); ++layer) {
    LOCI_CHECK(write_pages(writer, layer, sequence.cache.tables(LayerId(layer))[0]));
  }
  return writer.commit();
}

Result<Sequence> load_sequence(Core& core, const std::string& path) {
  LOCI_TRY(const SessionReader reader, SessionReader::open(path));
  LOCI_CHECK(reader.expect(core.fingerprint(), core.layout().attention.canonical()));
  Sequence sequence = core.new_sequence();
  sequence.tokens = reader.header().tokens;
  LOCI_TRY(const std::span<const std::byte> bytes, reader.section(kStateSection, sizeof(State)));
  State state;
  std::memcpy(&state, bytes.data(), sizeof state);
  const size_t tokens = sequence.tokens.size();
  if (state.fed_tokens > tokens || state.prompt_tokens > tokens) {
    return fail(ErrorCode::kCorrupt, "the session says that {} tokens were fed and {} prompted, but it has {}",
                state.fed_tokens, state.prompt_tokens, tokens);
  }
  if (tokens > core.layout().context) {
    return fail(ErrorCode::kLimit, "the session has {} tokens, but the context holds {}; raise the context", tokens,
                core.layout().context);
  }
  const uint32_t vocabulary = core.model().config().vocabulary;
  for (const TokenId id : sequence.tokens) {
    if (id < 0 || static_cast<uint32_t>(id) >= vocabulary) {
      return fail(ErrorCode::kCorrupt, "the session has a token {}, but the vocabulary has {} tokens", id, vocabulary);
    }
  }
  LOCI_CHECK(sequence.cache.restore(state.fed_tokens, [&](LayerId layer, Table& table) {
    return read_pages(core, reader, layer.value, core.cache_layout().shape(layer).window, state.fed_tokens, table);
  }));
  sequence.prompt_tokens = state.prompt_tokens;
  // Its blocks were not taken from this engine's prefix index, and its pages are its own.
  sequence.remembered_blocks = sequence.prompt_tokens / kPageSlots;
  return sequence;
}

}  // namespace loci

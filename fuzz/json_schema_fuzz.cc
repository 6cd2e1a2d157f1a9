// Any bytes as a JSON schema: an error of one sentence, or a grammar. Walking the grammar at random stays within its
// bounds, and what it calls whole is JSON.
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "io/bounded_json.h"
#include "text/json_grammar.h"

namespace {

// Bytes that the grammar allows, ends preferred; at most so many steps in all.
void walk(const loci::Grammar& grammar, uint32_t seed) {
  constexpr uint64_t kMostSteps = 2'000'000;
  std::minstd_rand random(seed);
  loci::GrammarState state(grammar);
  std::string text;
  while (text.size() < 200 && state.steps() < kMostSteps) {
    if (state.complete()) LOCI_ASSERT(nlohmann::json::accept(text), "a whole text of a schema's grammar is JSON");
    std::string next;
    for (int b = 0; b < 256; ++b) {
      loci::GrammarState tried = state;
      if (tried.take(static_cast<uint8_t>(b))) next += static_cast<char>(b);
    }
    if (next.empty()) return;
    size_t at = next.find_first_of("\"}]");
    if (at == std::string::npos || random() % 2 == 0) at = random() % next.size();
    state.take(static_cast<uint8_t>(next[at]));
    text += next[at];
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto schema =
      loci::parse_bounded_ordered_json(text, "the schema", {.bytes = size, .depth = 64, .values = 10'000});
  if (!schema.ok()) return 0;
  const auto grammar = loci::json_schema_grammar(*schema);
  if (!grammar.ok()) {
    LOCI_ASSERT(!grammar.error().message.empty() && grammar.error().message.size() < 1000, "errors are one sentence");
    return 0;
  }
  LOCI_ASSERT(grammar->size() <= loci::Grammar::kMostNodes + 1, "a grammar has a bound");
  if (grammar->size() < 2000) walk(*grammar, static_cast<uint32_t>(size));
  return 0;
}

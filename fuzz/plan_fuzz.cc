// Any text as an attention plan, read with the product's methods and with made ones of every stage and kind of
// parameter: errors are one sentence; a plan's canonical and brief prints, and those of its prompt part, parse back to
// an equal plan, and looking answers up stays within it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "attention/made_registry.h"
#include "attention/plan/plan.h"
#include "base/assert.h"

namespace {

void look_up(const loci::AttentionPlan& plan) {
  for (const uint32_t at : {0u, 3u, 63u, 4095u}) {
    (void)plan.codec(loci::LayerId(at));
    (void)plan.retain(loci::LayerId(at), loci::KvHead(at));
    (void)plan.mix(loci::LayerId(at), loci::QueryHead(at));
    for (const auto phase : {loci::Phase::kPrefill, loci::Phase::kDecode}) {
      (void)plan.select(phase, loci::LayerId(at), loci::KvHead(at));
      LOCI_ASSERT(plan.cell(phase) > 0, "a cell has tokens");
    }
  }
  (void)plan.lookback();
  (void)plan.check({.layers = 32, .kv_heads = 8, .query_heads = 32});
}

void parses_back(const loci::AttentionPlan& plan, const loci::Registry& registry) {
  const auto again = loci::AttentionPlan::parse(plan.canonical(), registry);
  LOCI_ASSERT(again.ok() && *again == plan, "the canonical print parses back to an equal plan");
  LOCI_ASSERT(again->canonical() == plan.canonical(), "equal plans print alike");
  LOCI_ASSERT(again->fingerprint() == plan.fingerprint(), "equal plans have equal fingerprints");
  const auto brief = loci::AttentionPlan::parse(plan.brief(), registry);
  LOCI_ASSERT(brief.ok() && *brief == plan, "the brief print parses back to an equal plan");
}

void read(std::string_view text, const loci::Registry& registry) {
  const auto plan = loci::AttentionPlan::parse(text, registry);
  if (!plan.ok()) {
    LOCI_ASSERT(!plan.error().message.empty() && plan.error().message.size() < 2000, "errors are one sentence");
    return;
  }
  parses_back(*plan, registry);
  const loci::AttentionPlan prompt = plan->prompt_part();
  parses_back(prompt, registry);
  LOCI_ASSERT(prompt.prompt_part() == prompt, "a prompt's part has no other prompt's part");
  look_up(*plan);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const kMade = new loci::test::MadeRegistry();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read(text, loci::built_in_registry());
  read(text, kMade->registry);
  return 0;
}

// What a plan says of the cache's bytes, beside what the pool counts: never less, and no more than 3% above.
#include "engine/plan_run.h"

namespace loci::test {
namespace {

constexpr uint32_t kContext = 4096;

class PlanBytes : public testing::TestWithParam<const char*> {};

TEST_P(PlanBytes, AreThePoolsAtItsPeak) {
  // The peak of a plan that shrinks the prompt at its end lies there, of others at the sequence's end.
  for (const auto& [chunk, prompt] : {std::pair{512u, kContext - 1}, {100u, kContext - 40}}) {
    const std::unique_ptr<Core> core = load_core(GetParam(), {.context = kContext, .chunk = chunk, .batch = 1});
    const uint64_t planned = core->layout().memory.kv_bytes;
    Sequence sequence = begin(*core, random_tokens(*core, kContext, prompt), prompt);
    RowLogits ignored;
    feed_until(*core, sequence, kContext, ignored);
    if (HasFatalFailure()) return;
    const uint64_t peak = core->pages().counters().peak_bytes;
    EXPECT_LE(peak, planned) << "chunks of " << chunk;
    EXPECT_LE(static_cast<double>(planned), 1.03 * static_cast<double>(peak)) << "chunks of " << chunk;
  }
}

INSTANTIATE_TEST_SUITE_P(Plans, PlanBytes,
                         testing::Values("dense", "store=kv8", "store=kv4", "streaming(sinks=4,window=1024)",
                                         "duo(ratio=0.5)", "duo(ratio=0.5,prefill=dense)", "razor",
                                         "snapkv(budget=1024)", "moa", "task-kv", "select=prefill:flexprefill",
                                         "select=prefill:anchor", "select=decode:tokenselect(k=1024)",
                                         "select=decode:tokenselect(k=1024,positions=renumber)",
                                         "select=decode:recycled(k=1024)", "mix=act", "mix=ph3(heads=0.0+3.1)",
                                         "mix=ph3(heads=2.4+2.5+4.0+4.1)", "retain=duo; store=kv4",
                                         "retain=duo; store=kv4; select=prefill:flexprefill",
                                         "retain=snapkv; store=kv8; select=prefill:anchor",
                                         "retain=razor; store=kv4; select=decode:tokenselect(k=1024)",
                                         "retain=moa; select=decode:recycled(k=1024)", "retain=task-kv; store=kv8",
                                         "mix=act; retain=duo", "mix=ph3(heads=0.0); retain=snapkv"),
                         [](const auto& of) {
                           std::string name(of.param);
                           for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           return name;
                         });

}  // namespace
}  // namespace loci::test

// What holds for every method on the serving path, bit for bit: nothing that is registered opts out. Also for
// compositions.
#include <cstdio>
#include <filesystem>
#include <set>

#include "attention/plan/plan.h"
#include "attention/registry/registry.h"
#include "engine/plan_run.h"
#include "engine/session_io.h"

namespace loci::test {
namespace {

constexpr uint32_t kPrompt = 300;
constexpr uint32_t kTotal = 340;

// "retain=snapkv(budget=48,window=8)": the method's call in every stage and phase that it answers.
std::string plan_of(const Method& method, std::string_view arguments) {
  std::string out;
  for (const Stage stage : kStages) {
    if (!method.stages.has(stage)) continue;
    out += fmt::format("{}{}={}({})", out.empty() ? "" : "; ", to_string(stage), method.name, arguments);
  }
  return out;
}

std::vector<const Method*> acting_methods() {
  std::vector<const Method*> out;
  for (const Method* method : built_in_registry().methods()) {
    if (method->make_retain != nullptr || method->make_select != nullptr || method->make_mix != nullptr)
      out.push_back(method);
  }
  return out;
}

constexpr const char* kModel = "models/needle-14m-q8_0.gguf";
constexpr const char* kWindows = "tests/data/parity/tiny-gemma3";  // one layer of two has a window of its own

struct Case {
  std::string plan;
  std::string model = kModel;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.plan << " on " << c.model; }

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const Method* method : acting_methods()) {
    out.push_back({plan_of(*method, method->trial)});
    // Profiles are shipped for the larger models alone.
    if (method->profile.empty()) out.push_back({plan_of(*method, method->trial), kWindows});
  }
  // Compositions of methods whose names are all registered.
  const auto call = [](std::string_view name) -> std::string {
    const Method* method = built_in_registry().find(name);
    return method == nullptr ? "" : fmt::format("{}({})", name, method->trial);
  };
  const auto compose = [&](std::string_view retain, std::string_view store, std::string_view select,
                           std::string_view mix) {
    std::string plan;
    for (const auto& [stage, name] : {std::pair{"retain", retain}, {"select", select}, {"mix", mix}}) {
      if (name.empty()) continue;
      if (call(name).empty()) return;
      plan += fmt::format("{}={}; ", stage, call(name));
    }
    out.push_back({fmt::format("{}store={}", plan, store)});
  };
  compose("duo", "kv4", "", "");
  compose("duo", "kv4", "flexprefill", "");
  compose("snapkv", "kv8", "anchor", "");
  compose("razor", "kv4", "tokenselect", "");
  compose("moa", "kv16", "recycled", "");
  compose("task-kv", "kv8", "", "");
  compose("duo", "kv16", "", "act");
  compose("snapkv", "kv16", "", "ph3");
  compose("streaming", "kv4", "tokenselect", "");
  out.push_back({"retain=snapkv(budget=48,window=8)+streaming(sinks=4,window=60); store=kv4"});
  out.push_back({"retain=snapkv(budget=48,window=8)@1-2,streaming(sinks=4,window=40)@3-:h1; store=kv8@2-4"});
  out.push_back({"select=decode:tokenselect(k=32,sinks=4,local=24,positions=renumber)"});
  out.push_back(
      {"retain=snapkv(budget=80,window=8); store=kv8; "
       "select=decode:tokenselect(k=32,sinks=4,local=24,positions=renumber)"});
  out.push_back({"store=kv4; select=decode:tokenselect(k=64,sinks=4,local=24,estimate=pooled,positions=renumber)"});
  // KV heads that keep nothing, since all their query heads are cut off, beside some that choose.
  out.push_back({"mix=ph3(heads=2.4+2.5+4.0+4.1)"});
  out.push_back({"mix=ph3(heads=4.0+4.1+4.5); store=kv4; select=decode:tokenselect(k=32,sinks=8,local=16)"});
  return out;
}

class Conformance : public testing::TestWithParam<Case> {
 protected:
  static std::unique_ptr<Core> load(PlanRunOptions run = {}) {
    run.model = GetParam().model;
    if (run.model == kWindows) run.context = 512;
    return load_core(GetParam().plan, run);
  }
};

TEST_P(Conformance, ChunksAndThreadsAgree) {
  const std::unique_ptr<Core> one = load({.chunk = 512, .threads = 1});
  const std::vector<TokenId> tokens = random_tokens(*one, kTotal, 1);
  const RowLogits whole = run_alone(*one, tokens, kPrompt);
  for (const auto& [chunk, threads] : {std::pair{512u, 2}, {1u, 2}, {7u, 3}, {64u, 2}}) {
    const std::unique_ptr<Core> core = load({.chunk = chunk, .threads = threads});
    expect_same_rows(whole, run_alone(*core, tokens, kPrompt), fmt::format("chunks of {}, {} threads", chunk, threads));
    if (HasFatalFailure()) return;
  }
}

TEST_P(Conformance, BatchedEqualsAlone) {
  const std::unique_ptr<Core> core = load({.chunk = 100});
  const std::vector<uint32_t> prompts = {220, 33, 120};
  std::vector<Sequence> sequences;
  std::vector<RowLogits> alone, batched(prompts.size());
  for (uint32_t i = 0; i < prompts.size(); ++i) {
    const std::vector<TokenId> tokens = random_tokens(*core, prompts[i] + 20, 10 + i);
    alone.push_back(run_alone(*core, tokens, prompts[i]));
    sequences.push_back(begin(*core, tokens, prompts[i]));
  }
  std::mt19937 random(3);
  for (bool more = true; more;) {
    std::vector<Sequence*> fed;
    std::vector<uint32_t> rows;
    std::vector<RowLogits*> logits;
    uint32_t prompt_rows = 0;
    more = false;
    for (size_t i = 0; i < sequences.size(); ++i) {
      if (sequences[i].unfed() == 0) continue;
      more = true;
      const bool decode = sequences[i].cache.tokens() >= sequences[i].decode_from;
      const uint32_t count = next_rows(*core, sequences[i], prompt_rows);
      if (count == 0 || random() % 3 == 0) continue;  // waits for another pass
      if (!decode) prompt_rows += count;
      fed.push_back(&sequences[i]);
      rows.push_back(count);
      logits.push_back(&batched[i]);
    }
    if (!fed.empty()) feed(*core, fed, rows, logits);
    if (HasFatalFailure()) return;
  }
  for (size_t i = 0; i < sequences.size(); ++i) expect_same_rows(alone[i], batched[i], fmt::format("sequence {}", i));
}

TEST_P(Conformance, ForkTrimSaveAndLoad) {
  const std::unique_ptr<Core> core = load();
  const std::vector<TokenId> tokens = random_tokens(*core, kTotal, 20);
  const RowLogits whole = run_alone(*core, tokens, kPrompt);
  Sequence sequence = begin(*core, tokens, kPrompt);
  RowLogits ignored;
  feed_until(*core, sequence, kPrompt + 10, ignored);

  Sequence forked = sequence.fork();
  forked.tokens[kPrompt + 15] ^= 1;
  const std::string path =
      (std::filesystem::temp_directory_path() /
       fmt::format("loci_conformance_{}", testing::UnitTest::GetInstance()->random_seed() +
                                              std::hash<std::string>{}(GetParam().plan + GetParam().model)))
          .string();
  const Status saved = save_sequence(*core, sequence, path);
  ASSERT_TRUE(saved.ok()) << saved.error().message;
  feed_until(*core, forked, kTotal, ignored);  // writes to pages that began as shared
  RowLogits rest;
  feed_until(*core, sequence, kTotal, rest);
  expect_same_rows(whole, rest, "after a fork went its own way", kPrompt + 10);

  // A page may have been given back meanwhile; then everything would be fed anew.
  if (sequence.trim(kTotal - 7)) {
    rest.clear();
    feed_until(*core, sequence, kTotal, rest);
    expect_same_rows(whole, rest, "trimmed and fed again", kTotal - 7);
  } else {
    EXPECT_GT(core->model().config().window, 0u) << "the last few tokens can be taken back";
  }

  Result<Sequence> loaded = load_sequence(*core, path);
  std::remove(path.c_str());
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  loaded->decode_from = kPrompt;
  rest.clear();
  feed_until(*core, *loaded, kTotal, rest);
  expect_same_rows(whole, rest, "loaded", kPrompt + 10);
}

TEST_P(Conformance, PrefixHitEqualsRecompute) {
  const std::unique_ptr<Core> core = load({.prefix_cache = true});
  const std::vector<TokenId> first = random_tokens(*core, kTotal, 30);
  run_alone(*core, first, kPrompt);
  std::vector<TokenId> second = random_tokens(*core, kTotal, 31);
  std::copy_n(first.begin(), 240, second.begin());
  const RowLogits recomputed = run_alone(*load(), second, kPrompt);
  Sequence sequence = begin(*core, second, kPrompt, /*adopt=*/true);
  const uint32_t taken = sequence.cache.tokens();
  if (core->layout().chunking.cell <= 64) {
    EXPECT_EQ(taken, 192u) << "three blocks are shared";
  }
  RowLogits logits;
  feed_until(*core, sequence, kTotal, logits);
  expect_same_rows(recomputed, logits, "prefix hit", taken);
}

TEST_P(Conformance, AdmissionCoversThePeakAndNothingLeaks) {
  for (const auto& [prompt, total, chunk] : {std::tuple{300u, 340u, 64u}, {700u, 720u, 512u}, {20u, 400u, 32u}}) {
    const std::unique_ptr<Core> core = load({.chunk = chunk});
    if (total > core->layout().context) continue;
    {
      RowLogits ignored;
      Sequence sequence = begin(*core, random_tokens(*core, total, 40), prompt);
      feed_until(*core, sequence, total, ignored);
      EXPECT_LE(sequence.state.bytes(), core->stages().state_bytes({.rows = 1, .tokens = 1024, .threads = 2}));
      EXPECT_LE(core->pages().counters().peak_bytes, sequence_bytes(core->layout(), prompt, total))
          << prompt << " of " << total << " by " << chunk;
    }
    EXPECT_EQ(core->pages().counters().bytes_in_use, 0u);
    if (HasFatalFailure()) return;
  }
}

TEST_P(Conformance, EveryStore) {
  for (const char* store : {"kv16", "kv8", "kv4"}) {
    if (GetParam().plan.find("store=") != std::string::npos) return;
    const std::string plan = fmt::format("{}; store={}", GetParam().plan, store);
    const std::unique_ptr<Core> whole = load_core(plan, {.model = GetParam().model, .context = 512, .chunk = 512});
    const std::vector<TokenId> tokens = random_tokens(*whole, kTotal, 50);
    const std::unique_ptr<Core> cut =
        load_core(plan, {.model = GetParam().model, .context = 512, .chunk = 48, .threads = 3});
    expect_same_rows(run_alone(*whole, tokens, kPrompt), run_alone(*cut, tokens, kPrompt), store);
    if (HasFatalFailure()) return;
  }
}

TEST_P(Conformance, PrintsBack) {
  const Result<AttentionPlan> plan = AttentionPlan::parse(GetParam().plan);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const Result<AttentionPlan> again = AttentionPlan::parse(plan->canonical());
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(*plan, *again);
  EXPECT_EQ(plan->fingerprint(), again->fingerprint());
}

INSTANTIATE_TEST_SUITE_P(Plans, Conformance, testing::ValuesIn(cases()));

class Degenerate : public testing::TestWithParam<const Method*> {};

TEST_P(Degenerate, EmitsTheDenseRead) {
  const Method& method = *GetParam();
  ASSERT_FALSE(method.trial.empty()) << method.name << " has no trial";
  const std::unique_ptr<Core> dense = load_core("dense");
  const std::vector<TokenId> tokens = random_tokens(*dense, kTotal, 60);
  const RowLogits expected = run_alone(*dense, tokens, kPrompt);
  const RowLogits acting = run_alone(*load_core(plan_of(method, method.trial)), tokens, kPrompt);
  // Otherwise none of these tests says anything about it.
  bool differs = false;
  for (size_t i = 0; i < expected.size(); ++i) differs = differs || expected[i] != acting[i];
  EXPECT_TRUE(differs) << method.name << " does nothing in its trial";
  if (method.dense_when.empty()) return;
  expect_same_rows(expected, run_alone(*load_core(plan_of(method, method.dense_trial)), tokens, kPrompt),
                   std::string(method.name));
}

INSTANTIATE_TEST_SUITE_P(Methods, Degenerate, testing::ValuesIn(acting_methods()), [](const auto& of) {
  std::string name(of.param->name);
  std::erase(name, '-');
  return name;
});

}  // namespace
}  // namespace loci::test

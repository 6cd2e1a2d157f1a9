// Plans drawn at random from what is registered: whatever composes runs, gives the same bits twice, holds no more pages
// than were admitted and leaves none behind.
#include <set>

#include "attention/plan/plan.h"
#include "attention/registry/registry.h"
#include "engine/plan_run.h"

namespace loci::test {
namespace {

class PlanDraw {
 public:
  explicit PlanDraw(uint32_t seed) : random_(seed) {}

  // A plan that parses; what methods exclude each other is drawn again.
  std::string draw() {
    for (;;) {
      std::string plan;
      const auto add = [&](const std::string& clause) {
        if (!clause.empty()) plan += (plan.empty() ? "" : "; ") + clause;
      };
      add(retain());
      add(store());
      add(select());
      add(mix());
      if (!plan.empty() && AttentionPlan::parse(plan).ok()) return plan;
    }
  }

 private:
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

  std::string call(Stage stage, const std::set<std::string>& but = {}, std::optional<Phase> phase = {}) {
    std::vector<const Method*> fitting;
    for (const Method* method : built_in_registry().methods()) {
      const bool acts = method->make_retain != nullptr || method->make_select != nullptr || method->make_mix != nullptr;
      if (acts && method->stages.has(stage) && !but.contains(std::string(method->name)) &&
          (!phase || method->phases.has(*phase)))
        fitting.push_back(method);
    }
    if (fitting.empty()) return "";
    const Method& method = *fitting[below(static_cast<uint32_t>(fitting.size()))];
    return fmt::format("{}({})", method.name, method.trial);
  }

  std::string scope() {
    static constexpr const char* kScopes[] = {"", "", "@1-3", "@0,4-", "@2-:h1", "@:h0,2-3"};
    return kScopes[below(6)];
  }

  std::string retain() {
    if (below(4) == 0) return "";
    const std::string first = call(Stage::kRetain);
    if (first.empty()) return "";
    if (below(4) == 0) {
      const std::string second = call(Stage::kRetain, {first.substr(0, first.find('('))});
      if (!second.empty()) return "retain=" + first + "+" + second;
    }
    return "retain=" + first + scope();
  }

  std::string store() {
    static constexpr const char* kStores[] = {"", "store=kv8", "store=kv4", "store=kv4,kv16@0-1", "store=kv8@2,4"};
    return kStores[below(5)];
  }

  std::string select() {
    std::string out;
    for (const Phase phase : kPhases) {
      if (below(2) == 0) continue;
      const std::string chosen = call(Stage::kSelect, {}, phase);
      if (chosen.empty()) continue;
      out += fmt::format("{}{}:{}{}", out.empty() ? "select=" : ",", to_string(phase), chosen, scope());
    }
    return out;
  }

  std::string mix() {
    if (below(3) != 0) return "";
    const std::string chosen = call(Stage::kMix);
    return chosen.empty() ? "" : "mix=" + chosen;
  }

  std::mt19937 random_;
};

class RandomPlans : public testing::TestWithParam<uint32_t> {};

TEST_P(RandomPlans, RunTheSameTwiceWithinWhatWasAdmitted) {
  PlanDraw plans(GetParam());
  std::mt19937 random(GetParam());
  for (int i = 0; i < 20; ++i) {
    const std::string plan = plans.draw();
    SCOPED_TRACE(plan);
    const uint32_t chunk = 1 + static_cast<uint32_t>(random() % 90);
    const std::unique_ptr<Core> core = load_core(plan, {.context = 512, .chunk = chunk, .batch = 2});
    ASSERT_NE(core, nullptr);
    const uint32_t prompt = 60 + static_cast<uint32_t>(random() % 60), total = prompt + 6;
    const std::vector<TokenId> tokens = random_tokens(*core, total, static_cast<uint32_t>(i));
    const RowLogits once = run_alone(*core, tokens, prompt);
    EXPECT_LE(core->pages().counters().peak_bytes, sequence_bytes(core->layout(), prompt, total));
    const std::unique_ptr<Core> again = load_core(plan, {.context = 512, .chunk = 512, .batch = 2, .threads = 1});
    expect_same_rows(once, run_alone(*again, tokens, prompt), "again");
    EXPECT_EQ(core->pages().counters().bytes_in_use, 0u);
    for (const std::vector<float>& row : once) {
      for (const float logit : row) ASSERT_TRUE(std::isfinite(logit));
    }
    if (HasFatalFailure()) return;
  }
}

// 200 plans.
INSTANTIATE_TEST_SUITE_P(Seeds, RandomPlans, testing::Range(1u, 11u));

}  // namespace
}  // namespace loci::test

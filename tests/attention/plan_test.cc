#include "attention/plan/plan.h"

#include <gtest/gtest.h>

#include <random>

#include "attention/made_registry.h"

namespace loci {
namespace {

using test::MadeRegistry;

const MadeRegistry& made() {
  static const MadeRegistry registry;
  return registry;
}

AttentionPlan parse(std::string_view text) {
  Result<AttentionPlan> plan = AttentionPlan::parse(text, made().registry);
  EXPECT_TRUE(plan.ok()) << text << ": " << (plan.ok() ? "" : plan.error().message);
  return plan.ok() ? *std::move(plan) : AttentionPlan();
}

TEST(AttentionPlan, TheProductParsesWhatItHas) {
  for (const char* text : {"dense", " dense ;", "store=kv16", "store = kv16 ; dense", "retain=dense", "kv16",
                           "select=dense; mix=dense@3"}) {
    const auto plan = AttentionPlan::parse(text);
    ASSERT_TRUE(plan.ok()) << text << plan.error().message;
    EXPECT_EQ(plan->canonical(), "dense");
    EXPECT_EQ(*plan, AttentionPlan());
    EXPECT_EQ(plan->codec(LayerId{5}), KvCodec::kKv16);
  }
  for (const char* name : {"kv8", "kv4"}) {
    const auto plan = AttentionPlan::parse(std::string("dense; store=") + name);
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan->canonical(), std::string("store=") + name);
    EXPECT_EQ(*AttentionPlan::parse(plan->canonical()), *plan);
    EXPECT_EQ(*AttentionPlan::parse(name), *plan);
    EXPECT_EQ(to_string(plan->codec(LayerId{0})), name);
  }
}

struct Printed {
  const char* text;
  const char* canonical;
  const char* brief;
};

TEST(AttentionPlan, PrintsOneFormThatParsesBack) {
  const Printed table[] = {
      {"snap", "retain=snap(budget=1024,window=32,kernel=7,pool=max,sinks=false)", "retain=snap"},
      {"snap(512)", "retain=snap(budget=512,window=32,kernel=7,pool=max,sinks=false)", "retain=snap(budget=512)"},
      {"retain = snap ( window=8 , pool = mean,sinks=true )",
       "retain=snap(budget=1024,window=8,kernel=7,pool=mean,sinks=true)", "retain=snap(window=8,pool=mean,sinks=true)"},
      {"duo(0.50)@4-27", "retain=duo(ratio=0.5,profile=auto)@4-27", "retain=duo@4-27"},
      {"duo(1e-1,profile=shared/x.json)", "retain=duo(ratio=0.1,profile=shared/x.json)",
       "retain=duo(ratio=0.1,profile=shared/x.json)"},
      {"retain=streaming@5,0,2-3,4:h3", "retain=streaming(sinks=4,window=1024)@0,2-5:h3", "retain=streaming@0,2-5:h3"},
      {"retain=streaming@:h0,h2-", "retain=streaming(sinks=4,window=1024)@:h0,2-", "retain=streaming@:h0,2-"},
      {"retain=streaming@0-", "retain=streaming(sinks=4,window=1024)", "retain=streaming"},
      {"retain=dense@9,streaming@1:h2,snap",
       "retain=snap(budget=1024,window=32,kernel=7,pool=max,sinks=false),"
       "streaming(sinks=4,window=1024)@1:h2,dense@9",
       "retain=snap,streaming@1:h2,dense@9"},
      {"retain=snap+streaming(sinks=0)",
       "retain=snap(budget=1024,window=32,kernel=7,pool=max,sinks=false)+streaming(sinks=0,window=1024)",
       "retain=snap+streaming(sinks=0)"},
      {"select=flex", "select=prefill:flex(gamma=0.95,block=128,step=16)", "select=prefill:flex"},
      {"flex(gamma=inf)", "select=prefill:flex(gamma=inf,block=128,step=16)", "select=prefill:flex(gamma=inf)"},
      {"select=decode:tokens(64),prefill:tokens(64)", "select=tokens(k=64)", "select=tokens(k=64)"},
      {"select=decode:tokens,prefill:dense", "select=decode:tokens(k=2048)", "select=decode:tokens"},
      {"select=tokens,prefill:dense@0-1", "select=tokens(k=2048),prefill:dense@0-1", "select=tokens,prefill:dense@0-1"},
      {"store=kv4@2-,kv8", "store=kv8,kv4@2-", "store=kv8,kv4@2-"},
      {"store=kv4,kv16@0", "store=kv4,kv16@0", "store=kv4,kv16@0"},
      {"store=kv4@1,kv16@0", "store=kv4@1", "store=kv4@1"},
      {"mix=calibrate(0)+gates", "mix=calibrate(beta=0)+gates", "mix=calibrate(beta=0)+gates"},
      {"mix=calibrate(-0)", "mix=calibrate(beta=0)", "mix=calibrate(beta=0)"},
      {"long", "retain=duo(ratio=0.25,profile=auto); store=kv4", "retain=duo(ratio=0.25); store=kv4"},
      {"store=kv8; long", "retain=duo(ratio=0.25,profile=auto); store=kv8", "retain=duo(ratio=0.25); store=kv8"},
      {"long; store=kv16; fast",
       "retain=duo(ratio=0.25,profile=auto); "
       "select=prefill:flex(gamma=0.95,block=128,step=16),decode:tokens(k=1024)",
       "retain=duo(ratio=0.25); select=prefill:flex,decode:tokens(k=1024)"},
      {"mix=gates;select=tokens;kv8;snap",
       "retain=snap(budget=1024,window=32,kernel=7,pool=max,sinks=false); store=kv8; select=tokens(k=2048); mix=gates",
       "retain=snap; store=kv8; select=tokens; mix=gates"},
  };
  for (const Printed& row : table) {
    const AttentionPlan plan = parse(row.text);
    EXPECT_EQ(plan.canonical(), row.canonical) << row.text;
    EXPECT_EQ(plan.brief(), row.brief) << row.text;
    EXPECT_EQ(parse(plan.canonical()), plan) << row.text;
    EXPECT_EQ(parse(plan.brief()), plan) << row.text;
  }
}

TEST(AttentionPlan, LooksUpTypedAnswersByLayerAndHead) {
  const AttentionPlan plan = parse(
      "retain=snap(budget=64,pool=mean),streaming(window=9)@2-3:h1; store=kv8,kv4@3; select=tokens(7)@0-1; "
      "mix=calibrate(0.25)@:h5");
  const auto snap = plan.retain(LayerId{2}, KvHead{0});
  ASSERT_EQ(snap.size(), 1u);
  EXPECT_EQ(snap[0].method, &made().snap);
  const auto options = snap[0].as<MadeRegistry::SnapOptions>();
  EXPECT_EQ(options.budget, 64u);
  EXPECT_EQ(options.window, 32u);
  EXPECT_EQ(options.pool, MadeRegistry::Pool::kMean);
  const auto streaming = plan.retain(LayerId{3}, KvHead{1});
  ASSERT_EQ(streaming.size(), 1u);
  EXPECT_EQ(streaming[0].as<MadeRegistry::StreamingOptions>().window, 9u);
  EXPECT_EQ(plan.retain(LayerId{4}, KvHead{1})[0].method, &made().snap);

  EXPECT_EQ(plan.codec(LayerId{2}), KvCodec::kKv8);
  EXPECT_EQ(plan.codec(LayerId{3}), KvCodec::kKv4);

  EXPECT_EQ(plan.select(Phase::kPrefill, LayerId{1}, KvHead{0})->as<MadeRegistry::TokensOptions>().k, 7u);
  EXPECT_EQ(plan.select(Phase::kDecode, LayerId{2}, KvHead{0}), nullptr);
  EXPECT_NE(plan.select(Phase::kDecode, LayerId{0}, KvHead{0}), nullptr);

  ASSERT_EQ(plan.mix(LayerId{8}, QueryHead{5}).size(), 1u);
  EXPECT_EQ(plan.mix(LayerId{8}, QueryHead{5})[0].as<MadeRegistry::CalibrateOptions>().beta, 0.25);
  EXPECT_TRUE(plan.mix(LayerId{8}, QueryHead{4}).empty());

  EXPECT_TRUE(AttentionPlan().retain(LayerId{0}, KvHead{0}).empty());
  EXPECT_EQ(AttentionPlan().select(Phase::kDecode, LayerId{0}, KvHead{0}), nullptr);
}

TEST(AttentionPlan, FingerprintsFollowThePlanAndNotItsSpelling) {
  EXPECT_EQ(parse("snap").fingerprint(), parse("retain=snap(kernel=7, budget=1024)").fingerprint());
  EXPECT_NE(parse("snap").fingerprint(), parse("snap(budget=1025)").fingerprint());
  EXPECT_NE(parse("duo").fingerprint(), parse("duo@1-").fingerprint());
  EXPECT_EQ(parse("dense").fingerprint().size(), 32u);
}

TEST(AttentionPlan, PromptPartLeavesOutWhatComesAfterThePrompt) {
  const auto prompt = [](const char* text) { return parse(text).prompt_part().brief(); };
  EXPECT_EQ(prompt("select=decode:tokens"), "dense");
  EXPECT_EQ(prompt("select=decode:tokens,prefill:flex"), "select=prefill:flex");
  EXPECT_EQ(prompt("select=tokens"), "select=prefill:tokens");
  EXPECT_EQ(prompt("snap; store=kv4; mix=gates"), "store=kv4; mix=gates");
  EXPECT_EQ(prompt("retain=snap+duo"), "retain=duo");
  EXPECT_EQ(prompt("duo(ratio=1)"), "dense");
  // Where the exception acts after the prompt, the rule must not.
  EXPECT_EQ(prompt("retain=duo,snap@3"), "retain=duo,dense@3");
  EXPECT_EQ(parse("snap; select=decode:tokens").prompt_part().fingerprint(), AttentionPlan().fingerprint());
}

TEST(AttentionPlan, AddsUpCellsLookbackAndRequestData) {
  const AttentionPlan plan = parse("snap(window=48); select=prefill:flex(block=48,step=2),decode:tokens");
  EXPECT_EQ(plan.cell(Phase::kPrefill), 96u);
  EXPECT_EQ(plan.cell(Phase::kDecode), 512u);
  EXPECT_EQ(parse("select=tokens,prefill:flex(block=48,step=2)@3").cell(Phase::kPrefill), 1536u);
  EXPECT_EQ(plan.lookback(), 48u);
  EXPECT_TRUE(plan.request_data().empty());
  EXPECT_TRUE(parse("duo").request_data().has(RequestData::kTotalLength));
  EXPECT_EQ(AttentionPlan().cell(Phase::kPrefill), 1u);
  EXPECT_EQ(AttentionPlan().lookback(), 0u);
}

TEST(AttentionPlan, ChecksRangesAgainstTheModel) {
  const HeadCounts model{.layers = 24, .kv_heads = 4, .query_heads = 16};
  for (const char* text : {"dense", "duo@0-23:h3", "duo@23-", "mix=calibrate@:h15", "store=kv4@0-"}) {
    EXPECT_TRUE(parse(text).check(model).ok()) << text;
  }
  const auto message = [&](const char* text) { return parse(text).check(model).error().message; };
  EXPECT_EQ(message("duo@4-27"),
            "attention plan: 'duo@4-27' names layer 27, but the model has 24 (0..23); end the range at 23");
  EXPECT_EQ(message("duo@24-"),
            "attention plan: 'duo@24-' names layer 24, but the model has 24 (0..23); end the range at 23");
  EXPECT_EQ(message("duo@:h4"),
            "attention plan: 'duo@:h4' names KV head 4, but the model has 4 (0..3); end the range at 3");
  EXPECT_EQ(message("mix=calibrate@:h16"),
            "attention plan: 'calibrate@:h16' names query head 16, but the model has 16 (0..15); end the range at 15");
}

// Random valid plans: print, parse back, agree everywhere.
TEST(AttentionPlan, RandomPlansParseBack) {
  std::mt19937 rng(5);
  const auto pick = [&](std::vector<std::string> words) { return words[rng() % words.size()]; };
  const auto scope = [&](bool heads) {
    const uint32_t first = 1 + rng() % 20;  // from 0 on is no exception
    std::string out = "@" + std::to_string(first) + pick({"", "-", "-" + std::to_string(first + rng() % 9)});
    if (heads && rng() % 2 == 0) out += ":h" + std::to_string(rng() % 4) + pick({"", ",6-7", "-"});
    return out;
  };
  for (int i = 0; i < 500; ++i) {
    std::string text;
    if (rng() % 2) {
      text += "retain=" + pick({"snap", "duo(0.75)", "snap(budget=" + std::to_string(33 + rng() % 5000) + ")",
                                "snap+duo", "dense"});
      if (rng() % 2) text += "," + pick({"streaming(sinks=1)", "dense", "duo+streaming"}) + scope(true);
    }
    if (rng() % 2) text += "; store=" + pick({"kv4", "kv8", "kv16"}) + "," + pick({"kv4", "kv16"}) + scope(false);
    if (rng() % 2) text += "; select=" + pick({"flex", "prefill:flex(block=32)", "flex,decode:recycle(9)"});
    if (rng() % 2) text += "; mix=gates";
    const Result<AttentionPlan> plan = AttentionPlan::parse(text.empty() ? "dense" : text, made().registry);
    ASSERT_TRUE(plan.ok()) << text << ": " << plan.error().message;
    const AttentionPlan back = parse(plan->canonical());
    EXPECT_EQ(back, *plan) << text;
    EXPECT_EQ(back.canonical(), plan->canonical());
    EXPECT_EQ(parse(plan->prompt_part().canonical()), plan->prompt_part());
    for (uint32_t layer = 0; layer < 30; ++layer) EXPECT_EQ(back.codec(LayerId{layer}), plan->codec(LayerId{layer}));
  }
}

// Whatever bytes come, parsing ends with a plan that prints back or with one sentence.
TEST(AttentionPlan, SurvivesDamagedText) {
  std::mt19937 rng(6);
  const std::string whole =
      "retain=snap(budget=64,pool=mean),duo(0.5)+streaming@2-3,9-:h1; store=kv8,kv4@3; select=decode:recycle(7); long";
  const std::string marks = ";,=()@:+-h0 9\n\x80";
  for (int i = 0; i < 20000; ++i) {
    std::string text = whole;
    for (uint32_t edits = 1 + rng() % 4; edits > 0; --edits) {
      const size_t at = rng() % text.size();
      if (rng() % 3 == 0) text.erase(at, 1 + rng() % 5);
      if (text.empty()) text = ";";
      if (rng() % 2 == 0) text.insert(std::min(at, text.size()), 1, marks[rng() % marks.size()]);
      if (rng() % 3 == 0) text[std::min(at, text.size() - 1)] = static_cast<char>(rng() % 256);
    }
    const Result<AttentionPlan> plan = AttentionPlan::parse(text, made().registry);
    if (plan.ok()) {
      EXPECT_EQ(parse(plan->canonical()), *plan) << text;
    } else {
      EXPECT_EQ(plan.error().message.rfind("attention plan: ", 0), 0u) << plan.error().message;
      EXPECT_EQ(plan.error().message.find('\n'), std::string::npos);
    }
  }
}

TEST(AttentionPlan, TheLongestPlansPrintBackToo) {
  const test::MadeRegistry made;
  std::string text = "retain=";
  for (int i = 0; i < 63; ++i) {
    text += fmt::format("{}snap({},window=1024,kernel=255,pool=mean)@{}", i == 0 ? "" : ",", 1000000 + i, 60000 + i);
  }
  const Result<AttentionPlan> plan = AttentionPlan::parse(text, made.registry);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const Result<AttentionPlan> again = AttentionPlan::parse(plan->canonical(), made.registry);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(*plan, *again);
}

}  // namespace
}  // namespace loci

// Requests that come and go: each answer is what it is alone, whoever else is there and whatever is preempted.
#include "engine/batcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "attention/registry/registry.h"
#include "engine/scheduler.h"
#include "io/model_file.h"

namespace loci {
namespace {

class BatcherTest : public testing::Test {
 protected:
  void load(EngineOptions options, const std::string& model = "models/stories260k.gguf") {
    file_ = std::move(*open_model_file(std::string(LOCI_SOURCE_DIR) + "/" + model));
    tokenizer_ = std::move(*Tokenizer::load(*file_));
    batcher_.reset();  // whose sequences are of the core before
    options.threads = 2;
    auto core = Core::load(*file_, options);
    ASSERT_TRUE(core.ok()) << core.error().message;
    core_ = std::move(*core);
    batcher_ = std::make_unique<Batcher>(*core_, *tokenizer_);
  }

  Request request(size_t prompt, uint32_t tokens, uint32_t seed = 1) {
    Request out;
    for (size_t i = 0; i < prompt; ++i) out.prompt.push_back(static_cast<TokenId>(10 + (i * 7 + seed * 31) % 300));
    out.max_new_tokens = tokens;
    out.ignore_eos = true;
    return out;
  }

  // Number of the request by which its results are found.
  size_t submit(BatchRequest of) {
    const size_t number = results_.size();
    results_.emplace_back(of.choices.size(), Result<Completion>(Error{ErrorCode::kInternal, "not done"}));
    of.on_done = [this, number](uint32_t choice, Result<Completion> done) {
      results_[number][choice] = std::move(done);
      ended_.push_back(number);
    };
    ids_.push_back(batcher_->submit(std::move(of)));
    return number;
  }
  size_t submit(Request of, const std::string& tenant = "", const std::string& plan = "") {
    BatchRequest out;
    out.choices.push_back(std::move(of));
    out.tenant = tenant;
    if (!plan.empty()) {
      auto bound = core_->bind(plan);
      EXPECT_TRUE(bound.ok()) << plan << ": " << bound.error().message;
      if (bound.ok()) out.plan = *bound;
    }
    return submit(std::move(out));
  }
  // Until nothing is left.
  StepReport run() {
    StepReport sum;
    for (int i = 0; !batcher_->idle() && i < 10000; ++i) {
      const StepReport report = batcher_->step();
      sum.preempted += report.preempted;
      sum.finished += report.finished;
      most_rows_ = std::max(most_rows_, report.prompt_rows + report.decode_rows);
    }
    EXPECT_TRUE(batcher_->idle());
    return sum;
  }
  const std::vector<TokenId>& tokens(size_t number, size_t choice = 0) {
    EXPECT_TRUE(results_[number][choice].ok()) << results_[number][choice].error().message;
    static const std::vector<TokenId> none;
    return results_[number][choice].ok() ? results_[number][choice]->tokens : none;
  }

  std::unique_ptr<ModelFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<Batcher> batcher_;
  std::vector<std::vector<Result<Completion>>> results_;
  std::vector<Batcher::Id> ids_;
  std::vector<size_t> ended_;
  uint32_t most_rows_ = 0;
};

// Each plan's answer beside those of all others equals its answer on an engine of its own.
TEST_F(BatcherTest, EveryPlanBesideTheOthersIsAsAlone) {
  std::vector<std::string> plans = {"dense", "store=kv8", "store=kv4", "retain=snapkv(budget=48,window=8); store=kv8",
                                    "retain=streaming(sinks=4,window=60)"};
  for (const Method* method : built_in_registry().methods()) {
    if (method->make_retain == nullptr && method->make_select == nullptr && method->make_mix == nullptr) continue;
    std::string plan;
    for (const Stage stage : kStages) {
      if (!method->stages.has(stage)) continue;
      plan += fmt::format("{}{}={}({})", plan.empty() ? "" : "; ", to_string(stage), method->name, method->trial);
    }
    plans.push_back(plan);
  }
  const std::string model = "models/needle-14m-q8_0.gguf";
  const EngineOptions options{.context = 1024, .batch = 32, .chunk = 128, .kv_bytes = uint64_t{256} << 20};
  std::vector<std::vector<TokenId>> alone;
  for (size_t i = 0; i < plans.size(); ++i) {
    EngineOptions own = options;
    own.batch = 1;
    own.attention = plans[i];
    load(own, model);
    if (HasFatalFailure()) return;
    Scheduler scheduler(*core_, *tokenizer_);
    const Request of = request(200 + 13 * i, 12, static_cast<uint32_t>(i));
    const auto done = scheduler.run(std::span(&of, 1));
    ASSERT_TRUE(done[0].ok()) << plans[i] << ": " << done[0].error().message;
    alone.push_back(done[0]->tokens);
  }
  load(options, model);
  for (size_t i = 0; i < plans.size(); ++i) submit(request(200 + 13 * i, 12, static_cast<uint32_t>(i)), "", plans[i]);
  run();
  for (size_t i = 0; i < plans.size(); ++i) EXPECT_EQ(tokens(i), alone[i]) << plans[i];
  // Once more, now that the prefix cache knows the prompts.
  for (size_t i = 0; i < plans.size(); ++i) submit(request(200 + 13 * i, 12, static_cast<uint32_t>(i)), "", plans[i]);
  run();
  for (size_t i = 0; i < plans.size(); ++i) EXPECT_EQ(tokens(plans.size() + i), alone[i]) << plans[i];
  EXPECT_GT(results_[plans.size()][0]->cached_tokens, 0u);
}

TEST_F(BatcherTest, WhoIsPreemptedSaysTheSame) {
  load({.context = 512, .batch = 4, .chunk = 64});
  std::vector<std::vector<TokenId>> alone;
  for (uint32_t i = 0; i < 4; ++i) {
    submit(request(60, 300, i));
    run();
    alone.push_back(tokens(i));
  }
  // Room for less than two of the four at their ends.
  load({.context = 512, .batch = 4, .chunk = 64, .kv_bytes = core_->layout().memory.kv_bytes / 3});
  results_.clear();
  for (uint32_t i = 0; i < 4; ++i) submit(request(60, 300, i));
  const StepReport report = run();
  EXPECT_GT(report.preempted, 0u);
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(tokens(i), alone[i]) << i;
  for (int i = 0; i < 1000 && const_cast<PrefixStore*>(core_->prefix_store())->evict_one(); ++i) {
  }
  EXPECT_EQ(core_->pages().counters().bytes_in_use, 0u);
}

TEST_F(BatcherTest, ChoicesReadThePromptOnceAndDiffer) {
  load({.context = 512, .batch = 8, .chunk = 64, .prefix_cache = false});
  BatchRequest many;
  for (uint32_t c = 0; c < 4; ++c) {
    Request choice = request(c == 0 ? 200 : 0, 20);
    choice.sampling.temperature = 1.0F;
    choice.sampling.seed = 100 + c;
    many.choices.push_back(choice);
  }
  const size_t together = submit(std::move(many));
  uint32_t prompt_rows = 0;
  while (!batcher_->idle()) prompt_rows += batcher_->step().prompt_rows;
  EXPECT_EQ(prompt_rows, 200u);
  for (uint32_t c = 0; c < 4; ++c) {
    Request one = request(200, 20);
    one.sampling.temperature = 1.0F;
    one.sampling.seed = 100 + c;
    const size_t alone = submit(std::move(one));
    run();
    EXPECT_EQ(tokens(together, c), tokens(alone)) << c;
    EXPECT_EQ(results_[together][c]->prompt_tokens, 200u);
  }
  EXPECT_NE(tokens(together, 0), tokens(together, 1));
  EXPECT_EQ(core_->pages().counters().bytes_in_use, 0u);
}

TEST_F(BatcherTest, ATenantThatAsksForMuchDoesNotHoldUpAnother) {
  load({.context = 512, .batch = 2, .chunk = 64});
  for (uint32_t i = 0; i < 8; ++i) submit(request(300, 20, i), "greedy");
  for (int i = 0; i < 3; ++i) batcher_->step();
  const size_t modest = submit(request(30, 5, 99), "modest");
  run();
  const auto place = std::find(ended_.begin(), ended_.end(), modest) - ended_.begin();
  EXPECT_LE(place, 2) << "it waits for one of the two that ran when it came";
}

TEST_F(BatcherTest, DecodeStepsGoOnBesideALongPrompt) {
  load({.context = 512, .batch = 4, .chunk = 64});
  submit(request(10, 100, 1));
  batcher_->step();
  submit(request(400, 2, 2));
  for (int i = 0; i < 6; ++i) {
    const StepReport report = batcher_->step();
    EXPECT_EQ(report.decode_rows, 1u);
    EXPECT_LE(report.prompt_rows, 64u);
    EXPECT_GT(report.prompt_rows, 0u);
  }
  run();
}

TEST_F(BatcherTest, AShortPromptOvertakesALongOneOfItsTenant) {
  load({.context = 512, .batch = 4, .chunk = 64});
  const size_t slow = submit(request(500, 1, 1));
  batcher_->step();
  const size_t quick = submit(request(20, 1, 2));
  run();
  EXPECT_EQ(ended_, (std::vector<size_t>{quick, slow}));
}

TEST_F(BatcherTest, CancelledRequestsEndWhereverTheyAre) {
  load({.context = 512, .batch = 1, .chunk = 64});
  const size_t running = submit(request(100, 300, 1));
  const size_t waiting = submit(request(100, 3, 2));
  const size_t stays = submit(request(100, 3, 3));
  for (int i = 0; i < 5; ++i) batcher_->step();
  EXPECT_TRUE(batcher_->cancel(ids_[waiting]));
  EXPECT_TRUE(batcher_->cancel(ids_[running]));
  EXPECT_FALSE(batcher_->cancel(ids_[running]));
  EXPECT_FALSE(batcher_->cancel(12345));
  ASSERT_TRUE(results_[running][0].ok());
  EXPECT_EQ(results_[running][0]->finish, Finish::kCancelled);
  EXPECT_FALSE(results_[running][0]->tokens.empty());
  ASSERT_FALSE(results_[waiting][0].ok());
  EXPECT_EQ(results_[waiting][0].error().code, ErrorCode::kCancelled);
  run();
  EXPECT_EQ(tokens(stays).size(), 3u);
}

TEST_F(BatcherTest, WhatCannotFitIsRefusedWithNumbersAndTheNextComes) {
  load({.context = 512, .batch = 2, .chunk = 64});
  load({.context = 512, .batch = 2, .chunk = 64, .kv_bytes = core_->layout().memory.kv_bytes / 4});
  const size_t large = submit(request(500, 10, 1));
  Request wrong = request(10, 3, 2);
  wrong.prompt[3] = 1 << 20;
  const size_t invalid = submit(std::move(wrong));
  const size_t small = submit(request(20, 3, 3));
  run();
  ASSERT_FALSE(results_[large][0].ok());
  EXPECT_EQ(results_[large][0].error().code, ErrorCode::kLimit);
  EXPECT_NE(results_[large][0].error().message.find("MiB"), std::string::npos);
  ASSERT_FALSE(results_[invalid][0].ok());
  EXPECT_EQ(results_[invalid][0].error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(tokens(small).size(), 3u);
}

TEST_F(BatcherTest, PromptsOfAnotherSaltAreNotShared) {
  load({.context = 512, .batch = 1, .chunk = 64});
  const auto cached = [&](const std::string& salt) {
    Request of = request(200, 1, 1);
    of.salt = salt;
    const size_t number = submit(std::move(of));
    run();
    return results_[number][0]->cached_tokens;
  };
  EXPECT_EQ(cached("a"), 0u);
  EXPECT_EQ(cached("b"), 0u);
  EXPECT_GT(cached("a"), 0u);
  EXPECT_EQ(cached(""), 0u);
}

// What prompts keep is copied when they end, for which pages are held back before the pass.
TEST_F(BatcherTest, PromptsThatEndInAFullCacheAreCompacted) {
  const std::string plan = "retain=snapkv(budget=100,window=8)";
  const auto ask = [&] {
    for (uint32_t i = 0; i < 6; ++i) submit(request(i % 3 == 0 ? 130 : 250, 60, i), "", i % 3 == 0 ? "dense" : plan);
  };
  load({.context = 512, .batch = 6, .chunk = 64});
  ask();
  run();
  std::vector<std::vector<TokenId>> roomy;
  for (uint32_t i = 0; i < 6; ++i) roomy.push_back(tokens(i));
  const uint64_t all = core_->layout().memory.kv_bytes;
  for (uint64_t share = 20; share <= 60; share += 2) {
    load({.context = 512, .batch = 6, .chunk = 64, .kv_bytes = all * share / 100});
    results_.clear();
    ask();
    run();
    for (uint32_t i = 0; i < 6; ++i) EXPECT_EQ(tokens(i), roomy[i]) << i << " in " << share << "%";
  }
}

// The lse of all rows of a pass is taken as soon as one of its sequences mixes.
TEST_F(BatcherTest, AMixingStepBesideAnothersPromptHasItsScratch) {
  std::vector<std::string> mixing, reading = {"dense"};
  for (const Method* method : built_in_registry().methods()) {
    std::string plan = fmt::format("{}({})", method->name, method->trial);
    if (method->make_mix != nullptr && method->stages.has(Stage::kMix)) mixing.push_back("mix=" + plan);
    if (method->make_select != nullptr && method->stages.has(Stage::kSelect)) reading.push_back("select=" + plan);
  }
  ASSERT_FALSE(mixing.empty());
  for (const std::string& mix : mixing) {
    for (const std::string& read : reading) {
      load({.context = 1024, .batch = 2, .chunk = 1024}, "models/needle-14m-q8_0.gguf");
      submit(request(20, 30, 1), "", mix);
      batcher_->step();
      submit(request(900, 2, 2), "", read);
      run();
      EXPECT_EQ(tokens(results_.size() - 1).size(), 2u) << mix << " beside " << read;
    }
  }
}

// States are of the whole prompt, whatever the chunks, the prefix cache and preemption.
TEST_F(BatcherTest, StatesOfAPromptComeInOrder) {
  std::vector<float> first;
  for (const uint32_t chunk : {512u, 64u}) {
    load({.context = 512, .batch = 2, .chunk = chunk});
    for (int round = 0; round < 2; ++round) {
      std::vector<float> states;
      BatchRequest of;
      of.choices.push_back(request(300, 0));
      of.on_states = [&](uint32_t first_row, const Rows& rows) {
        ASSERT_EQ(first_row * rows.width, states.size());
        for (uint32_t r = 0; r < rows.rows; ++r) states.insert(states.end(), rows.row(r), rows.row(r) + rows.width);
      };
      submit(std::move(of));
      run();
      EXPECT_EQ(states.size(), 300 * core_->model().config().hidden);
      if (first.empty()) first = states;
      EXPECT_EQ(states, first);
    }
  }
}

TEST_F(BatcherTest, WhoIsCancelledWithinThePromptHasReadAPartOfIt) {
  load({.context = 512, .batch = 1, .chunk = 64});
  const size_t number = submit(request(400, 5));
  for (int i = 0; i < 3; ++i) batcher_->step();
  batcher_->cancel(ids_[number]);
  ASSERT_TRUE(results_[number][0].ok());
  EXPECT_EQ(results_[number][0]->prompt_tokens, 192u);
}

// The same calls between the same passes: the same passes.
TEST_F(BatcherTest, AReplayMakesTheSamePasses) {
  const auto play = [&] {
    load({.context = 512, .batch = 3, .chunk = 64, .kv_bytes = 400 << 10});
    results_.clear();
    std::vector<std::array<uint32_t, 4>> passes;
    for (uint32_t pass = 0; pass < 400; ++pass) {
      if (pass % 3 == 0 && pass < 60) submit(request(20 + pass * 5, 30, pass), pass % 2 == 0 ? "a" : "b");
      if (pass == 40) batcher_->cancel(ids_.back());
      const StepReport report = batcher_->step();
      passes.push_back({report.decode_rows, report.prompt_rows, report.admitted, report.preempted});
    }
    return passes;
  };
  const auto first = play();
  EXPECT_EQ(first, play());
}

}  // namespace
}  // namespace loci

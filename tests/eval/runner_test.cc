#include "eval/runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

namespace loci {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kNeedle = std::string(LOCI_SOURCE_DIR) + "/models/needle-14m-q8_0.gguf";

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class RunnerTest : public testing::Test {
 protected:
  RunnerTest()
      : data_({.haystack = "The sea was calm. A ship came by. Nobody saw it. The night was long.",
               .adjectives = "calm\nwitty\nbrave\neager\ngentle\njolly\nkeen\nproud\nquick\nsilly\ntidy\nwarm",
               .nouns = "dory\nmeal\nriver\nstone\ngarden\nwinter\nletter\nmarket\nbridge\ncandle\nforest\nisland",
               .verbs = "go"}) {
    folder_ = fs::temp_directory_path() / ("loci-runner-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    run_.tasks = *find_tasks("ruler:niah_single_1,niah_multikey_2");
    run_.lengths = {384};
    run_.plans = {"store=kv4", "dense"};
    run_.samples.prompts = 2;
    hooks_.load = [&](const std::string& plan) {
      ++loads_;
      return Engine::load(kNeedle, {.context = run_.lengths[0] + 128, .attention = plan, .prefix_cache = false});
    };
  }
  ~RunnerTest() override { fs::remove_all(folder_); }

  Status run(ResultFile& file, ReferenceStore& store) { return run_evaluation(run_, data_, hooks_, file, store); }

  // The whole file, times left out.
  nlohmann::json evaluate(const fs::path& path) {
    Result<ResultFile> file = ResultFile::open(path, {{"model", "needle"}});
    EXPECT_TRUE(file.ok()) << file.error().message;
    ReferenceStore store(path.string() + ".dense");
    const Status done = run(*file, store);
    EXPECT_TRUE(done.ok()) << done.error().message;
    EXPECT_TRUE(file->finish(file->sorted(run_.plans, {"niah_single_1", "niah_multikey_2"})).ok());
    nlohmann::json json = nlohmann::json::parse(read(path));
    for (const char* part : {"cells", "results"}) {
      for (nlohmann::json& item : json[part]) item.erase("time");
    }
    return json;
  }

  fs::path folder_;
  SuiteData data_;
  EvalRun run_;
  EvalHooks hooks_;
  int loads_ = 0;
};

TEST_F(RunnerTest, PlansAnswerTheSamePromptsAndAreComparedWithDense) {
  run_.lengths = {1024};  // the model was not trained on shorter ones
  ResultFile file;
  ReferenceStore store;
  ASSERT_TRUE(run(file, store).ok());
  const std::vector<PromptResult> results = file.sorted(run_.plans, {"niah_single_1", "niah_multikey_2"});
  ASSERT_EQ(results.size(), 8U);
  for (size_t i = 0; i < 4; ++i) {
    const PromptResult& kv4 = results[i];
    const PromptResult& dense = results[i + 4];
    EXPECT_EQ(kv4.key.plan, "store=kv4");
    EXPECT_EQ(kv4.answers, dense.answers);
    EXPECT_EQ(kv4.prompt_tokens, dense.prompt_tokens);
    EXPECT_GT(kv4.prompt_tokens, 700U);
    EXPECT_LT(kv4.kv_bytes, dense.kv_bytes / 2);
    EXPECT_EQ(dense.score, 1) << dense.text;
    EXPECT_FALSE(dense.kl.has_value());
    ASSERT_TRUE(kv4.kl.has_value());
    EXPECT_GT(*kv4.kl, 0);
    EXPECT_LT(*kv4.kl, 0.1);
    EXPECT_GT(*kv4.agreement, 0.8);
  }
  const std::vector<Cell> cells = summarize(results);
  ASSERT_EQ(cells.size(), 4U);
  EXPECT_EQ(cells[3].prompts, 2U);
  for (const Cell& cell : cells) {
    if (cell.task == "niah_single_1") {
      EXPECT_EQ(cell.score.mean, 1);
    }
  }
}

TEST_F(RunnerTest, TasksForWhichALengthIsTooShortAreLeftOutUnlessTheyAreNamed) {
  run_.lengths = {384, 100};
  run_.plans = {"dense"};
  std::vector<std::string> left_out;
  hooks_.on_left_out = [&](const std::string& why) { left_out.push_back(why); };
  ResultFile file;
  ReferenceStore store;
  ASSERT_TRUE(run(file, store).ok());
  const std::vector<PromptResult> results = file.sorted(run_.plans, {"niah_single_1", "niah_multikey_2"});
  ASSERT_EQ(results.size(), 4U);
  for (const PromptResult& result : results) EXPECT_EQ(result.key.length, 384U);
  ASSERT_EQ(left_out.size(), 2U);
  EXPECT_THAT(left_out[0], HasSubstr("100 tokens are too few for task 'niah_single_1'"));

  run_.named = {run_.tasks[1]};
  ResultFile other;
  const Status named = run(other, store);
  ASSERT_FALSE(named.ok());
  EXPECT_EQ(named.error().code, ErrorCode::kLimit);
  EXPECT_THAT(named.error().message, HasSubstr("niah_multikey_2"));

  run_.named = {};
  run_.lengths = {100};
  ResultFile none;
  EXPECT_EQ(run(none, store).error().code, ErrorCode::kLimit);
}

TEST_F(RunnerTest, AKilledRunGoesOnToTheSameFile) {
  const nlohmann::json whole = evaluate(folder_ / "whole.json");
  EXPECT_EQ(whole["results"].size(), 8U);
  // Stopped by a flag in the middle of an answer, of some 1,950 tokens in all, then the last line torn as by a kill.
  const fs::path path = folder_ / "broken.json";
  for (const uint64_t stop_after : {300U, 900U, 1700U}) {
    std::atomic<bool> cancelled = false;
    hooks_.cancelled = &cancelled;
    hooks_.on_progress = [&](uint64_t done, uint64_t) { cancelled = done >= stop_after; };
    Result<ResultFile> file = ResultFile::open(path, {{"model", "needle"}});
    ASSERT_TRUE(file.ok());
    ReferenceStore store(path.string() + ".dense");
    EXPECT_EQ(run(*file, store).error().code, ErrorCode::kCancelled);
    hooks_.cancelled = nullptr;
    hooks_.on_progress = {};
  }
  const fs::path part = path.string() + ".part";
  ASSERT_FALSE(fs::exists(path));
  fs::resize_file(part, fs::file_size(part) - 20);
  EXPECT_EQ(evaluate(path), whole);
  EXPECT_FALSE(fs::exists(part));
}

TEST_F(RunnerTest, WhatIsThereIsNotRunAgain) {
  const fs::path path = folder_ / "results.json";
  const nlohmann::json first = evaluate(path);
  EXPECT_EQ(loads_, 2);
  EXPECT_EQ(evaluate(path), first);
  EXPECT_EQ(loads_, 2);
  run_.plans.push_back("store=kv8");
  EXPECT_EQ(evaluate(path)["results"].size(), 12U);
  EXPECT_EQ(loads_, 3);
}

TEST_F(RunnerTest, AFileOfOtherSettingsIsRefused) {
  const fs::path path = folder_ / "results.json";
  evaluate(path);
  const Result<ResultFile> other = ResultFile::open(path, {{"model", "smollm2"}});
  ASSERT_FALSE(other.ok());
  EXPECT_THAT(other.error().message, HasSubstr("model"));
  std::ofstream(folder_ / "torn.json") << "{\"settings\": {}";
  EXPECT_EQ(ResultFile::open(folder_ / "torn.json", {}).error().code, ErrorCode::kCorrupt);
}

TEST_F(RunnerTest, AForeignReferenceIsRefused) {
  const PromptKey key{"", "vt", 384, 0};
  ReferenceStore store(folder_ / "dense");
  ASSERT_TRUE(store.write(key, {{5, 6}, {{{5, 7}, {-0.1F, -3.0F}}, {{6}, {-0.2F}}}}).ok());
  ASSERT_TRUE(store.holds(key));
  EXPECT_EQ(store.read(key)->rows[0].ids, (std::vector<TokenId>{5, 7}));
  const fs::path file = folder_ / "dense/vt-384-0";
  const std::string bytes = read(file);
  for (size_t length = 0; length < bytes.size(); ++length) {
    std::ofstream(file, std::ios::binary) << bytes.substr(0, length);
    EXPECT_FALSE(store.read(key).ok()) << length;
  }
}

}  // namespace
}  // namespace loci

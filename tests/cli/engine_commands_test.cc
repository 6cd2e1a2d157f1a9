// The commands that run a model, on the one that ships with Loci.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "command_line.h"

namespace loci {
namespace {

using ::testing::HasSubstr;

constexpr const char* kText =
    "Call me Ishmael. Some years ago--never mind how long precisely--having little or no money";

TEST(Plan, TotalIsTheSumAndGrowsWithContextAndBatch) {
  const auto plan = [](std::vector<std::string> extra) {
    std::vector<std::string> arguments{"plan", "-m", "needle", "--json"};
    arguments.insert(arguments.end(), extra.begin(), extra.end());
    return loci_run(arguments).json();
  };
  const nlohmann::json one = plan({"--ctx", "4096"});
  ASSERT_TRUE(one.contains("total_bytes")) << one;
  const auto bytes = [](const nlohmann::json& p, const char* key) { return p[key].get<uint64_t>(); };
  EXPECT_EQ(bytes(one, "total_bytes"), bytes(one, "weights_bytes") + bytes(one, "kv_bytes") +
                                           bytes(one, "state_bytes") + bytes(one, "scratch_bytes"));
  EXPECT_TRUE(one["fits"].get<bool>());
  const uint64_t two = bytes(plan({"--ctx", "8192"}), "kv_bytes");
  EXPECT_EQ(bytes(plan({"--ctx", "12288"}), "kv_bytes") - two, two - bytes(one, "kv_bytes"));
  EXPECT_EQ(two, 2 * bytes(one, "kv_bytes"));
  EXPECT_EQ(bytes(plan({"--ctx", "4096", "--batch", "3"}), "kv_bytes"), 3 * bytes(one, "kv_bytes"));
  EXPECT_LT(bytes(plan({"--ctx", "4096", "--attention", "store=kv4"}), "kv_bytes"), bytes(one, "kv_bytes") / 2);
}

TEST(Plan, WhatDoesNotFitIsAnAnswerAndNoError) {
  const Outcome outcome = loci_run({"plan", "-m", "needle", "--ctx", "131072", "--memory-limit", "64M", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_FALSE(outcome.json()["fits"].get<bool>());
  EXPECT_THAT(loci_run({"plan", "-m", "needle", "--ctx", "131072", "--memory-limit", "64M"}).out,
              HasSubstr("does not fit"));
}

TEST(Plan, UnknownPlansAreErrors) {
  const Outcome outcome = loci_run({"plan", "-m", "needle", "--attention", "store=kv3", "--json"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.json()["error"]["message"].get<std::string>(), HasSubstr("kv3"));
}

TEST(Run, RawCompletionAsTextAndAsJsonAgree) {
  const std::vector<std::string> arguments{"run", "-m", "needle", "--raw", "-p", kText, "-n", "8"};
  const Outcome text = loci_run(arguments);
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.err, HasSubstr("tok/s"));
  std::vector<std::string> with_json = arguments;
  with_json.push_back("--json");
  const Outcome json = loci_run(with_json);
  ASSERT_EQ(json.code, 0) << json.err;
  EXPECT_EQ(json.json()["text"].get<std::string>() + "\n", text.out);
  EXPECT_EQ(json.json()["generated_tokens"], 8);
  EXPECT_EQ(json.json()["finish"], "length");
  EXPECT_EQ(json.json()["attention"], "dense");
  EXPECT_GT(json.json()["kv_bytes"].get<uint64_t>(), 0u);
  for (const char* key : {"prefill_tok_s", "decode_tok_s", "prompt_tokens", "kept_tokens"}) {
    EXPECT_GT(json.json()[key].get<double>(), 0) << key;
  }
  EXPECT_TRUE(json.json().contains("cached_tokens"));
}

TEST(Run, RawConcatenatesFileAndPrompt) {
  const ScratchFolder folder;
  const std::string text = kText;
  const std::string file = folder.file("document.txt", text.substr(0, 30));
  const Outcome whole = loci_run({"run", "-m", "needle", "--raw", "-p", text, "-n", "4", "--json"});
  const Outcome parts =
      loci_run({"run", "-m", "needle", "--raw", "-f", file, "-p", text.substr(30), "-n", "4", "--json"});
  ASSERT_EQ(parts.code, 0) << parts.err;
  EXPECT_EQ(parts.json()["text"], whole.json()["text"]);
  EXPECT_EQ(parts.json()["prompt_tokens"], whole.json()["prompt_tokens"]);
}

TEST(Run, WithoutTemplateSaysToUseRaw) {
  const Outcome outcome = loci_run({"run", "-m", "needle", "-p", "hello", "--json"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("--raw"));
  EXPECT_EQ(outcome.json()["error"]["code"], "unsupported");
}

TEST(Run, TooLongForItsContextNamesTheNumbers) {
  const Outcome outcome = loci_run({"run", "-m", "needle", "--raw", "-p", kText, "-n", "500", "--ctx", "256"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("500"));
  EXPECT_THAT(outcome.err, HasSubstr("--ctx 256"));
  const Outcome trained = loci_run({"run", "-m", "needle", "--raw", "-p", kText, "-n", "131072"});
  EXPECT_EQ(trained.code, 1);
  EXPECT_THAT(trained.err, HasSubstr("131072 that 'needle-14m' was trained for"));
}

TEST(Run, MoreMemoryThanAllowedIsRefused) {
  const Outcome outcome =
      loci_run({"run", "-m", "needle", "--raw", "-p", "x", "-n", "4", "--memory-limit", "1M", "--json"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.json()["error"]["code"], "limit exceeded");
}

TEST(Run, CtrlCLeavesValidJsonAndExitCode130) {
  const Outcome outcome = loci_run({"run", "-m", "needle", "--raw", "-p", kText, "-n", "4", "--json"}, "", true);
  EXPECT_EQ(outcome.code, 130);
  ASSERT_TRUE(outcome.json().is_object()) << outcome.out;
  const bool cancelled = outcome.json().contains("error") ? outcome.json()["error"]["code"] == "cancelled"
                                                          : outcome.json()["finish"] == "cancelled";
  EXPECT_TRUE(cancelled) << outcome.out;
}

TEST(Run, StopStringsEndTheText) {
  const Outcome free = loci_run({"run", "-m", "needle", "--raw", "-p", kText, "-n", "12", "--json"});
  ASSERT_EQ(free.code, 0) << free.err;
  const std::string text = free.json()["text"];
  const std::string stop = text.substr(text.size() / 2, 2);
  const Outcome stopped = loci_run({"run", "-m", "needle", "--raw", "-p", kText, "-n", "12", "--stop", stop, "--json"});
  EXPECT_EQ(stopped.json()["text"], text.substr(0, text.find(stop)));
  EXPECT_EQ(stopped.json()["finish"], "stop");
}

TEST(Perplexity, TextAndItsTokensAgree) {
  const ScratchFolder folder;
  const std::string file = folder.file("text.txt", kText);
  const nlohmann::json ids = loci_run({"tokenize", "-m", "needle", "-f", file, "--json"}).json()["ids"];
  const nlohmann::json text = loci_run({"eval", "perplexity", "-m", "needle", "-f", file, "--json"}).json();
  ASSERT_TRUE(text.contains("mean_nll")) << text;
  EXPECT_EQ(text["tokens"], ids.size() - 1);
  EXPECT_FALSE(text.contains("nll"));
  const nlohmann::json tokens = loci_run({"eval", "perplexity", "-m", "needle", "--tokens",
                                          folder.file("ids.json", ids.dump()), "--per-token", "--json"})
                                    .json();
  EXPECT_EQ(tokens["mean_nll"], text["mean_nll"]);
  EXPECT_NEAR(tokens["ppl"].get<double>(), std::exp(tokens["mean_nll"].get<double>()), 1e-9);
  ASSERT_EQ(tokens["nll"].size(), ids.size() - 1);
  EXPECT_EQ(tokens["argmax"].size(), ids.size() - 1);
  double sum = 0;
  for (const auto& nll : tokens["nll"]) sum += nll.get<double>();
  EXPECT_NEAR(sum / static_cast<double>(tokens["nll"].size()), tokens["mean_nll"].get<double>(), 1e-9);
}

TEST(Perplexity, OneTokenPredictsNothing) {
  const ScratchFolder folder;
  for (const char* ids : {"[]", "[5]"}) {
    const Outcome outcome =
        loci_run({"eval", "perplexity", "-m", "needle", "--tokens", folder.file("ids.json", ids), "--json"});
    EXPECT_EQ(outcome.code, 1) << ids;
    EXPECT_TRUE(outcome.json().contains("error")) << outcome.out;
  }
}

TEST(Evaluate, WritesResultsThatCanBeComparedAndLookedAt) {
  const ScratchFolder folder;
  const std::string json = folder.file("out.json", ""), page = folder.file("out.html", "");
  std::filesystem::remove(json);
  const std::vector<std::string> arguments{"eval",      "--suite",  "ruler:niah_single_1",
                                           "--lengths", "384",      "--prompts",
                                           "2",         "--plans",  "dense",
                                           "store=kv4", "--depths", "even",
                                           "--keys",    "held-out", "-m",
                                           "needle",    "--json",   json,
                                           "--report",  page};
  const Outcome outcome = loci_run(arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("niah_single_1"));
  std::ifstream written(page);
  EXPECT_THAT(std::string(std::istreambuf_iterator<char>(written), {}), HasSubstr("<title>Loci evaluation</title>"));
  const Outcome compared = loci_run({"eval", "compare", json, "--json"});
  ASSERT_EQ(compared.code, 0) << compared.err;
  EXPECT_EQ(compared.json()[0]["first"], "dense");
  EXPECT_EQ(compared.json()[0]["second"], "store=kv4");
  EXPECT_EQ(compared.json()[0]["cells"][0]["prompts"], 2);
  EXPECT_EQ(loci_run({"eval", "compare", json, json}).code, 0);
  EXPECT_EQ(loci_run({"eval", "compare", page}).code, 1);  // no file of results
}

TEST(Evaluate, TasksWhoseFileIsMissingAreNamed) {
  const std::vector<std::string> end{"--lengths", "512", "-m", "needle"};
  std::vector<std::string> arguments{"eval", "--suite", "ruler:qa_1"};
  arguments.insert(arguments.end(), end.begin(), end.end());
  const Outcome outcome = loci_run(arguments);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("--squad"));
}

TEST(Evaluate, ListNamesEveryTask) {
  const Outcome outcome = loci_run({"eval", "list", "--json"});
  ASSERT_EQ(outcome.code, 0);
  EXPECT_GE(outcome.json().size(), 15U);
  EXPECT_EQ(outcome.json()[0]["task"], "niah_single_1");
}

TEST(Bench, RowsHaveTheirNumbers) {
  const Outcome outcome = loci_run({"bench", "-m", "needle", "--prompt", "32", "--gen", "4", "--depth", "0,64",
                                    "--reps", "2", "--attention", "store=kv4", "--threads", "1", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const nlohmann::json rows = outcome.json();
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0]["test"], "prefill");
  EXPECT_EQ(rows[1]["test"], "decode");
  EXPECT_EQ(rows[3]["depth"], 64);
  for (const nlohmann::json& row : rows) {
    for (const char* key : {"tok_s", "gb_s", "gmac_s", "roof_share", "kv_bytes", "roof_gb_s", "roof_one_thread_gb_s",
                            "roof_int8_gmac_s", "roof_f32_gmac_s", "load_s"}) {
      EXPECT_GT(row[key].get<double>(), 0) << key;
    }
    EXPECT_EQ(row["threads"], 1);
    EXPECT_EQ(row["attention"], "store=kv4");
  }
}

// The session of that depth ends inside a page, which every repetition's fork copies.
TEST(Bench, DepthNeedNotEndAtAPage) {
  const Outcome outcome = loci_run({"bench", "-m", "needle", "--prompt", "127", "--gen", "4", "--depth", "63", "--reps",
                                    "2", "--threads", "1", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.json().size(), 2u);
}

TEST(Bench, BatchesCountTheTokensOfAllSequences) {
  const Outcome outcome = loci_run({"bench", "-m", "needle", "--gen", "8", "--depth", "100", "--batch", "3", "--chunk",
                                    "64", "--reps", "1", "--threads", "1", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const nlohmann::json rows = outcome.json();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["test"], "decode");
  EXPECT_EQ(rows[0]["batch"], 3);
  EXPECT_GT(rows[0]["tok_s"].get<double>(), 0);
}

TEST(BenchAttention, MeasuresAPlanBesideDense) {
  for (const char* schedule : {"stream", "split"}) {
    const Outcome outcome =
        loci_run({"bench", "attention", "--attention", "select=decode:tokenselect(k=64,sinks=4,local=64)", "--shape",
                  "llama3-8b,layers=1", "--depth", "700,300", "--batch", "3", "--steps", "3", "--threads", "2",
                  "--schedule", schedule, "--json"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const nlohmann::json rows = outcome.json();
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[1]["attention"], "dense");
    EXPECT_EQ(rows[1]["speedup"], 1.0);
    EXPECT_LT(rows[0]["read_bytes"].get<double>(), rows[1]["read_bytes"].get<double>() / 2);
    // Three sequences of 8 heads, keys and values of 128 halves.
    EXPECT_EQ(rows[1]["read_bytes"].get<double>(), (701.0 + 301 + 701 + 3) * 8 * 512);
    for (const nlohmann::json& row : rows) {
      for (const char* key : {"select_ms", "read_ms", "gb_s", "roof_share", "kv_bytes"})
        EXPECT_GT(row[key].get<double>(), 0) << key;
      ASSERT_EQ(row["worker_busy"].size(), 2u);
      EXPECT_LE(row["worker_busy"][0].get<double>(), 1.0);
    }
  }
}

TEST(BenchAttention, MeasuresAPromptOnRealEntries) {
  const std::string book = std::string(LOCI_SOURCE_DIR) + "/data/books/moby-dick.txt";
  const Outcome outcome =
      loci_run({"bench", "attention", "-m", "needle", "--prompt", book, "--attention", "streaming(sinks=4,window=64)",
                "--depth", "200,4096", "--reps", "1", "--threads", "2", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const nlohmann::json rows = outcome.json();
  ASSERT_EQ(rows.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(rows[i]["prompt_tokens"], i < 2 ? 200 : 4096);
    EXPECT_EQ(rows[i]["attention"] == "dense", i % 2 == 1);
    EXPECT_GT(rows[i]["read_ms"].get<double>(), 0);
    EXPECT_LT(rows[i]["attention_ms"].get<double>(), rows[i]["prefill_ms"].get<double>());
  }
  EXPECT_LT(rows[2]["read_ms"].get<double>(), rows[3]["read_ms"].get<double>());
  EXPECT_EQ(rows[3]["speedup"], 1.0);
  EXPECT_TRUE(rows[3]["select_of_saved"].is_null());
}

TEST(BenchAttention, APromptNeedsAModelAndEnoughText) {
  const std::string license = std::string(LOCI_SOURCE_DIR) + "/LICENSE";
  EXPECT_EQ(loci_run({"bench", "attention", "--prompt", license}).code, 2);
  const Outcome outcome =
      loci_run({"bench", "attention", "-m", "needle", "--prompt", license, "--depth", "50000", "--reps", "1"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("give a longer text"));
}

TEST(BenchAttention, SaysWhichShapesThereAre) {
  for (const char* shape : {"llama9", "llama3-8b,layers=0", "llama3-8b,layers=33", "llama3-8b,heads=2", "qwen2-7b,"}) {
    const Outcome outcome = loci_run({"bench", "attention", "--shape", shape, "--json"});
    EXPECT_EQ(outcome.code, 1) << shape;
    EXPECT_THAT(outcome.err, testing::AnyOf(testing::HasSubstr("qwen2-7b"), testing::HasSubstr("layers=1..32")));
  }
}

TEST(Demo, FindsTheFactWithBothCaches) {
  const Outcome outcome = loci_run({"demo", "--tokens", "1500", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err << outcome.out;
  const nlohmann::json json = outcome.json();
  ASSERT_EQ(json["runs"].size(), 2u);
  for (const nlohmann::json& run : json["runs"]) {
    EXPECT_TRUE(run["right"].get<bool>()) << run;
    EXPECT_THAT(run["answer"].get<std::string>(), HasSubstr(json["value"].get<std::string>()));
    EXPECT_LE(run["prompt_tokens"].get<int>(), 1500);
  }
  EXPECT_LT(json["runs"][1]["kv_bytes"].get<uint64_t>(), json["runs"][0]["kv_bytes"].get<uint64_t>() / 2);
}

TEST(Chat, WithoutTemplatePointsToRun) {
  const Outcome outcome = loci_run({"chat", "-m", "needle"}, "hello\n");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("run --raw"));
}

}  // namespace
}  // namespace loci

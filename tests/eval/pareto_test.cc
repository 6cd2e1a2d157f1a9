// What quality costs: groups of results, their frontier, and how it is told.
#include "eval/pareto.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "io/temporary_folder.h"

namespace loci {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

PromptResult result(const std::string& plan, uint32_t index, double score, uint64_t bytes, double seconds,
                    uint32_t length = 4096) {
  PromptResult r;
  r.key = {plan, "vt", length, index};
  r.score = score;
  r.kv_bytes = bytes;
  r.prefill_seconds = seconds / 2;
  r.decode_seconds = seconds / 2;
  r.decode_steps = 10;
  return r;
}

NamedResults file(std::vector<PromptResult> results, const std::string& name = "a.json") {
  return {name, {{{"model", "needle"}, {"threads", 2}}, std::move(results)}};
}

std::vector<std::string> best(const ParetoGroup& group) {
  std::vector<std::string> out;
  for (const ParetoDot& dot : group.dots) {
    if (dot.best) out.push_back(dot.plan);
  }
  return out;
}

TEST(Pareto, FrontierIsWhatNoOtherPlanBeats) {
  const Result<ParetoPicture> picture = pareto_picture(
      {file({result("dense", 0, 1, 100, 4), result("half", 0, 1, 50, 4), result("small", 0, 0.5, 10, 4),
             result("fast", 0, 0.5, 50, 1), result("bad", 0, 0.5, 60, 2), result("twin", 0, 1, 50, 4)})});
  ASSERT_TRUE(picture.ok()) << picture.error().message;
  ASSERT_EQ(picture->groups.size(), 1U);
  EXPECT_THAT(best(picture->groups[0]), ElementsAre("half", "small", "fast", "twin"));
}

TEST(Pareto, DotsAreMeansOverPromptsThatAllPlansHave) {
  std::vector<PromptResult> results{result("dense", 0, 1, 100, 4), result("dense", 1, 0, 300, 8),
                                    result("dense", 2, 0, 900, 9), result("kv4", 1, 1, 20, 2),
                                    result("kv4", 0, 1, 40, 4)};
  results[3].kl = 0.5;
  results[4].kl = 0.1;
  const Result<ParetoPicture> picture = pareto_picture({file(results)});
  ASSERT_TRUE(picture.ok()) << picture.error().message;
  const ParetoGroup& group = picture->groups[0];
  EXPECT_EQ(group.prompts, 2U);
  const ParetoDot& dense = group.dots[0];
  EXPECT_EQ(dense.score.mean, 0.5);
  EXPECT_EQ(dense.kv_bytes, 200);
  EXPECT_EQ(dense.seconds, 6);
  EXPECT_EQ(dense.token_ms, 300);  // 2 + 4 seconds, 20 steps
  EXPECT_FALSE(dense.kl.has_value());
  EXPECT_NEAR(*group.dots[1].kl, 0.3, 1e-12);
  EXPECT_THAT(picture->notes, ElementsAre(HasSubstr("2 of 3 prompts count")));
}

TEST(Pareto, ModelsLengthsAndMachinesStandApart) {
  NamedResults other = file({result("dense", 0, 1, 100, 4), result("kv4", 0, 1, 30, 5)}, "b.json");
  other.finished.settings["threads"] = 8;
  const Result<ParetoPicture> picture =
      pareto_picture({file({result("dense", 0, 1, 100, 4, 8192), result("kv4", 0, 1, 30, 5, 8192),
                            result("dense", 0, 1, 100, 4), result("kv4", 0, 1, 30, 5)}),
                      other});
  ASSERT_TRUE(picture.ok()) << picture.error().message;
  ASSERT_EQ(picture->groups.size(), 3U);
  EXPECT_EQ(picture->groups[0].length, 4096U);
  EXPECT_EQ(picture->groups[2].length, 8192U);
}

TEST(Pareto, TwoFilesOfOneRunGoTogetherAndDoublesAreRefused) {
  const NamedResults a = file({result("dense", 0, 1, 100, 4)});
  NamedResults b = file({result("kv4", 0, 1, 30, 5)}, "b.json");
  b.finished.settings["loci"] = "9.9";  // a version does not divide
  ASSERT_TRUE(pareto_picture({a, b}).ok());
  EXPECT_THAT(pareto_picture({a, b, file({result("kv4", 0, 1, 30, 5)}, "c.json")}).error().message,
              HasSubstr("is in 'b.json' and in 'c.json'"));
  EXPECT_THAT(pareto_picture({a}).error().message, HasSubstr("no two plans"));
  EXPECT_THAT(pareto_picture({a, file({result("kv4", 1, 1, 30, 5)}, "d.json")}).error().message,
              HasSubstr("none of its 2 prompts was answered by all of its 2 plans"));
}

TEST(Pareto, ReadsWholeAndCompactFilesAndRefusesOthers) {
  const TemporaryFolder folder;
  const auto compact = folder.write(
      "compact.json",
      std::string_view(R"({"settings": {"model": "m"}, "cells": [{"plan": "dense", "task": "t", "length": 64,
        "indices": [4, 7], "scores": [1, 0.5], "kl": null, "kv_bytes": 10, "prefill_s": 1, "decode_s": 0.5, "decode_steps": 4.5}]})"));
  const Result<FinishedResults> read = read_pareto_results(compact);
  ASSERT_TRUE(read.ok()) << read.error().message;
  ASSERT_EQ(read->results.size(), 2U);
  EXPECT_EQ(read->results[1].score, 0.5);
  EXPECT_EQ(read->results[1].key.index, 7U);
  EXPECT_EQ(read->results[0].decode_steps + read->results[1].decode_steps, 9U) << "4.5 steps on the mean";
  EXPECT_EQ(read->results[0].decode_seconds, 0.5);
  const char* wrong[] = {"",
                         "[]",
                         "{\"settings\": 3, \"cells\": []}",
                         "{\"settings\": {}}",
                         "{\"settings\": {}, \"results\": [1]}",
                         "{\"settings\": {}, \"cells\": [{}]}",
                         "{\"settings\": {}, \"cells\": [{\"scores\": [\"x\"]}]}"};
  const std::string cell =
      R"({{"settings": {{}}, "cells": [{{"plan": "a", "task": "t", "length": 64, "indices": [{}], "scores": [1], "kl": null,
         "kv_bytes": {}, "prefill_s": 1, "decode_s": 1, "decode_steps": {}}}]}})";
  EXPECT_TRUE(read_pareto_results(folder.write("right.json", fmt::format(fmt::runtime(cell), "0", "1", "1"))).ok());
  for (const auto& [index, bytes, steps] : std::initializer_list<std::array<const char*, 3>>{
           {"0, 1", "1", "1"}, {"0", "1e300", "1"}, {"0", "-1", "1"}, {"0", "1", "1e300"}, {"0", "1", "-3"}}) {
    EXPECT_FALSE(
        read_pareto_results(folder.write("wrong.json", fmt::format(fmt::runtime(cell), index, bytes, steps))).ok())
        << index << " " << bytes << " " << steps;
  }
  for (const char* text : wrong) {
    EXPECT_FALSE(read_pareto_results(folder.write("wrong.json", std::string_view(text))).ok()) << text;
  }
  EXPECT_FALSE(read_pareto_results(folder.path() / "absent.json").ok());
}

TEST(Pareto, PageHoldsTheDotsAndFetchesNothing) {
  NamedResults named = file({result("dense", 0, 1, 100, 4), result("</script><b>", 0, 1, 30, 5)});
  named.finished.settings["model"] = 7;  // no name: hostile, not fatal
  const Result<ParetoPicture> picture = pareto_picture({named});
  ASSERT_TRUE(picture.ok()) << picture.error().message;
  const std::string page = pareto_page(*picture);
  EXPECT_THAT(page, HasSubstr("\\u003c/script>\\u003cb>"));
  EXPECT_THAT(page, HasSubstr("paretoGroup"));
  EXPECT_THAT(page, HasSubstr("Chart.js v3"));
  for (const char* left : {"@STYLE@", "@DATA@", "@CHART@", "@COMMON@", "@PARETO@", "@SCRIPT@", "src="}) {
    EXPECT_THAT(page, Not(HasSubstr(left)));
  }
}

TEST(Pareto, MarkdownMarksTheFrontier) {
  const Result<ParetoPicture> picture =
      pareto_picture({file({result("dense", 0, 1, 2 << 20, 4), result("a|b", 0, 1, 1 << 20, 2)})});
  ASSERT_TRUE(picture.ok());
  const std::string text = pareto_markdown(*picture, 3);
  EXPECT_THAT(text, HasSubstr("### needle, 4096 tokens\n\n1 prompt(s) of vt."));
  EXPECT_THAT(text, HasSubstr("| `dense` |  | 100.0 |"));
  EXPECT_THAT(text, HasSubstr("| `a\\|b` | yes | 100.0 |"));
}

}  // namespace
}  // namespace loci

// What people read of results: comparisons, excerpts, the page and its Markdown.
#include "eval/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/comparison.h"
#include "eval/excerpt.h"

namespace loci {
namespace {

using testing::HasSubstr;
using testing::Not;

PromptResult result(const std::string& plan, uint32_t length, uint32_t index, double score) {
  PromptResult r;
  r.key = {plan, "vt", length, index};
  r.answers = {"ABC"};
  r.excerpt = "prompt " + std::to_string(length) + " " + std::to_string(index);
  r.text = "said";
  r.score = score;
  r.kv_bytes = 1 << 20;
  return r;
}

TEST(Comparison, PairsPromptsByTaskLengthAndIndex) {
  std::vector<PromptResult> first, second;
  for (uint32_t i = 0; i < 8; ++i) first.push_back(result("dense", 4096, i, 1));
  first.push_back(result("dense", 8192, 0, 0.5));
  first.push_back(result("other", 8192, 1, 0));
  for (uint32_t i = 10; i-- > 2;)
    second.push_back(result("store=kv4", 4096, i, i < 5 ? 0 : 1));  // 8 and 9 have no pair
  second.push_back(result("store=kv4", 8192, 0, 0.75));
  second.back().kl = 0.5;
  first[8].kl = 0.25;
  const Result<std::vector<PairedCell>> cells = compare_results(first, "dense", second, "store=kv4");
  ASSERT_TRUE(cells.ok()) << cells.error().message;
  ASSERT_EQ(cells->size(), 2U);
  const PairedCell& four = cells->front();
  EXPECT_EQ(four.prompts, 6U);
  EXPECT_EQ(four.first, 1);
  EXPECT_NEAR(four.second, 0.5, 1e-12);
  EXPECT_EQ(four.better, 0U);
  EXPECT_EQ(four.worse, 3U);
  EXPECT_NEAR(four.difference.mean, -0.5, 1e-12);
  EXPECT_LT(four.difference.high, 0);
  EXPECT_FALSE(four.kl.has_value());
  EXPECT_EQ((*cells)[1].length, 8192U);
  EXPECT_EQ((*cells)[1].difference.mean, 0.25);
  EXPECT_EQ((*cells)[1].kl->mean, 0.25);
}

TEST(Comparison, OtherPromptsAndNoPromptsAreRefused) {
  std::vector<PromptResult> first{result("dense", 4096, 0, 1)}, second{result("dense", 4096, 0, 1)};
  EXPECT_THAT(compare_results(first, "dense", second, "kv4").error().message, HasSubstr("no prompt in common"));
  second[0].excerpt = "another";
  EXPECT_THAT(compare_results(first, "dense", second, "dense").error().message, HasSubstr("not the same"));
}

TEST(Excerpt, HoldsTheEndsAndTheNeedles) {
  std::string prompt = "BEGIN" + std::string(5000, 'a') + "the needle" + std::string(5000, 'b') + "END";
  const std::string kept = excerpt(prompt, {"the needle", "a needle that is nowhere"});
  EXPECT_THAT(kept, testing::StartsWith("BEGIN"));
  EXPECT_THAT(kept, testing::EndsWith("bEND"));
  EXPECT_THAT(kept, HasSubstr("athe needleb"));
  EXPECT_THAT(kept, HasSubstr("\n[... 4625 bytes ...]\n"));  // 5 + 5000 - 300 - 80
  EXPECT_LT(kept.size(), 1400U);
  EXPECT_EQ(excerpt("short", {"short"}), "short");
  EXPECT_EQ(excerpt(prompt.substr(0, 1000), {}), prompt.substr(0, 1000));
}

TEST(Excerpt, CutsBetweenCharacters) {
  std::string prompt;
  for (int i = 0; i < 3000; ++i) prompt += "\u20ac";  // three bytes each
  for (int shift = 0; shift < 3; ++shift) {
    const std::string kept = excerpt(std::string(static_cast<size_t>(shift), 'x') + prompt, {});
    EXPECT_EQ(nlohmann::json(kept).dump(-1, ' ', false, nlohmann::json::error_handler_t::strict).empty(), false);
  }
}

TEST(Report, HoldsEverythingAndEndsNoScript) {
  PromptResult hostile = result("store=kv4|x", 4096, 0, 0);
  hostile.text = "</script><script>alert(1)</script><!-- \xff";
  const std::string page = report_page({{"model", "needle"}}, {result("dense", 4096, 0, 1), hostile});
  EXPECT_THAT(page, HasSubstr("Chart.js v3"));
  EXPECT_THAT(page, HasSubstr("showPrompts"));
  EXPECT_THAT(page, Not(HasSubstr("alert(1)</script>")));
  EXPECT_THAT(page, HasSubstr("\\u003c/script>\\u003cscript>alert(1)"));
  EXPECT_THAT(page, HasSubstr("\"pareto\":{\"groups\":[{\"settings\""));
  for (const char* left : {"@STYLE@", "@DATA@", "@CHART@", "@COMMON@", "@PARETO@", "@SCRIPT@"}) {
    EXPECT_THAT(page, Not(HasSubstr(left)));
  }
  EXPECT_THAT(page, Not(HasSubstr("src=")));  // nothing is fetched
}

TEST(Report, MarkdownHasARowACell) {
  const std::string text =
      report_markdown({{"model", "needle"}, {"seed", 1}},
                      {result("dense", 4096, 0, 1), result("dense", 4096, 1, 1), result("a|b", 8192, 0, 0)});
  EXPECT_THAT(text, HasSubstr("- model: needle\n- seed: 1\n"));
  EXPECT_THAT(text, HasSubstr("| `dense` | vt | 4096 | 2 | 100.0 (34.2-100.0) | - | - |"));
  EXPECT_THAT(text, HasSubstr("| `a\\|b` | vt | 8192 | 1 |"));
}

TEST(Report, MarkdownTellsDepthsFrontierAndMisses) {
  std::vector<PromptResult> results{result("dense", 4096, 0, 1), result("dense", 4096, 1, 0.5),
                                    result("kv4", 4096, 0, 0), result("kv4", 4096, 1, 0)};
  for (PromptResult& r : results) r.needles = {"needle"};
  results[1].depth = 0.55;
  results[2].text = "`no`\n# heading";
  const std::string text = report_markdown({{"model", "needle"}}, results);
  EXPECT_THAT(text,
              HasSubstr("### vt by depth, `dense`\n\n| depth | 4096 |\n|---|--:|\n| 0-10% | 100 |\n| 10-20% | |"));
  EXPECT_THAT(text, HasSubstr("| 50-60% | 50 |"));
  EXPECT_THAT(text, HasSubstr("## What quality costs\n\n### needle, 4096 tokens"));
  EXPECT_THAT(text, HasSubstr("- `kv4` vt 4096 #0, 0%: right `ABC `, said `'no' # heading `"));
  EXPECT_THAT(text, Not(HasSubstr("\n# heading")));
}

}  // namespace
}  // namespace loci

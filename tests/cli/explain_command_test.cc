// loci explain, on the model that ships with Loci.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "command_line.h"

namespace loci {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

// Some 900 tokens of the model's.
std::string document() {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "The white whale swam before him in the sea, " + std::to_string(i * 37) + ". ";
  return text;
}

nlohmann::json explained(const std::string& plan, const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {"explain", "-m",          "needle", "--raw",       "-p", document(), "-n",
                                    "6",       "--stretches", "32",     "--attention", plan, "--json"};
  words.insert(words.end(), more.begin(), more.end());
  const Outcome outcome = loci_run(words);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return outcome.json();
}

TEST(Explain, DenseKeepsAndReadsEverything) {
  const nlohmann::json json = explained("dense");
  ASSERT_EQ(json["heads"].size(), 24u);
  EXPECT_GT(json["tokens"].get<uint32_t>(), 500u);
  for (const nlohmann::json& head : json["heads"]) {
    ASSERT_EQ(head["kept"].size(), json["stretches"].get<size_t>());
    for (const char* key : {"kept", "in_decode"}) EXPECT_THAT(head[key].get<std::vector<float>>(), Each(1.0F)) << key;
    // The last stretch may hold nothing but tokens that were written.
    std::vector<float> in_prompt = head["in_prompt"];
    in_prompt.pop_back();
    EXPECT_THAT(in_prompt, Each(1.0F));
  }
}

TEST(Explain, StreamingForgetsTheMiddle) {
  const nlohmann::json json = explained("retain=streaming(sinks=4,window=64)@2:h1");
  const auto stretches = json["stretches"].get<size_t>();
  for (const nlohmann::json& head : json["heads"]) {
    const bool streams = head["layer"] == 2 && head["kv_head"] == 1;
    for (const char* key : {"kept", "in_decode"}) {
      EXPECT_EQ(head[key][stretches / 2].get<float>(), streams ? 0.0F : 1.0F) << key;
      EXPECT_GT(head[key][0].get<float>(), 0.0F) << key;
      EXPECT_EQ(head[key][stretches - 1].get<float>(), 1.0F) << key;
    }
    EXPECT_LT(head["in_prompt"][stretches / 2].get<float>(), streams ? 0.6F : 1.1F);
  }
}

TEST(Explain, KeptSharesAddUpToTheBudget) {
  const nlohmann::json json = explained("snapkv(budget=100,window=16)");
  const double stretch = std::ceil(json["tokens"].get<double>() / json["stretches"].get<double>());
  for (const nlohmann::json& head : json["heads"]) {
    double entries = 0;
    for (size_t s = 0; s < head["kept"].size(); ++s) {
      const double width = std::min(stretch, json["tokens"].get<double>() - stretch * static_cast<double>(s));
      entries += head["kept"][s].get<double>() * width;
    }
    EXPECT_NEAR(entries, 105, 0.1);  // five of six tokens that were written have been read
  }
}

TEST(Explain, TellsHowMuchAttentionTheReadsHold) {
  EXPECT_FALSE(explained("dense")["heads"][0].contains("prompt_coverage"));
  const nlohmann::json dense = explained("dense", {"--coverage"});
  ASSERT_EQ(dense["heads"].size(), 24u);
  for (const nlohmann::json& head : dense["heads"]) {
    for (const char* phase : {"prompt_coverage", "decode_coverage"}) {
      EXPECT_FLOAT_EQ(head[phase]["mass"].get<float>(), 1) << phase;
      EXPECT_EQ(head[phase]["error"].get<float>(), 0) << phase;
    }
    EXPECT_EQ(head["decode_coverage"]["queries"], 2 * 5);  // five of six tokens are read, by a group of two query heads
  }
  double few = 0, many = 0;
  const auto add_up = [](const nlohmann::json& json, double& mass) {
    for (const nlohmann::json& head : json["heads"]) {
      EXPECT_FLOAT_EQ(head["prompt_coverage"]["mass"].get<float>(), 1);
      EXPECT_GT(head["decode_coverage"]["mass"].get<float>(), 0);
      mass += head["decode_coverage"]["mass"].get<double>();
    }
  };
  add_up(explained("tokenselect(k=16,sinks=4,local=16,theta=1)", {"--coverage"}), few);
  add_up(explained("tokenselect(k=256,sinks=4,local=16,theta=1)", {"--coverage"}), many);
  EXPECT_LT(few, many);
  EXPECT_LT(many, 24);
}

// What is read before the rest is chosen counts: with every key between chosen the two are everything, with none the
// middle is read by the cells around it alone.
TEST(Explain, CountsWhatIsReadBefore) {
  const auto in_prompt = [](const nlohmann::json& head) {
    std::vector<float> shares = head["in_prompt"];
    shares.pop_back();  // may hold nothing but tokens that were written
    return shares;
  };
  const nlohmann::json all = explained("anchor(theta=1000000,step=2,block=64,tail=sparse)");
  const nlohmann::json none = explained("anchor(theta=-1000000,step=2,block=64,tail=sparse)");
  ASSERT_EQ(all["heads"].size(), 24u);
  ASSERT_EQ(none["heads"].size(), 24u);
  for (const nlohmann::json& head : all["heads"]) EXPECT_THAT(in_prompt(head), Each(1.0F));
  for (const nlohmann::json& head : none["heads"]) {
    const std::vector<float> shares = in_prompt(head);
    EXPECT_EQ(shares.front(), 1.0F);
    EXPECT_GT(shares[shares.size() / 2], 0.0F);
    EXPECT_LT(shares[shares.size() / 2], 0.9F);
  }
}

// Steps between full ones read 64 entries and their own, in copies.
TEST(Explain, CountsWhatIsReadInCopies) {
  const nlohmann::json json = explained("recycled(stride=50,k=64)");
  const double tokens = json["tokens"].get<double>(), stretch = std::ceil(tokens / json["stretches"].get<double>());
  for (const nlohmann::json& head : json["heads"]) {
    double entries = 0;
    for (size_t s = 0; s < head["in_decode"].size(); ++s) {
      const double width = std::min(stretch, tokens - stretch * static_cast<double>(s));
      entries += head["in_decode"][s].get<double>() * width;
    }
    EXPECT_NEAR(entries, 65, 6);  // the last stretch is seen by some of the steps in parts alone
  }
}

TEST(Explain, WritesAPageThatNeedsNothingElse) {
  const ScratchFolder folder;
  const std::string path = folder.path("page.html");
  const Outcome outcome =
      loci_run({"explain", "-m", "needle", "--raw", "-p", "</script> & so on", "-n", "2", "--layer", "4", "-o", path});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  std::ifstream file(path);
  const std::string page((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_THAT(page, HasSubstr("\"layer\":4"));
  EXPECT_THAT(page, Not(HasSubstr("\"layer\":3")));
  EXPECT_THAT(page, Not(HasSubstr("http")));
  EXPECT_THAT(page, Not(HasSubstr("src=")));
}

TEST(Explain, NamesWhatTheModelLacks) {
  const Outcome outcome =
      loci_run({"explain", "-m", "needle", "--raw", "-p", "x", "-n", "1", "--layer", "6", "--json"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("--layer is 6, but the model has 6 (0..5)"));
}

}  // namespace
}  // namespace loci

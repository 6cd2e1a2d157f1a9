#include "calibrate/calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "calibrate/picture.h"
#include "calibrate/retrieval_heads.h"

namespace loci {
namespace {

// Pieces of made-up numbers that cannot be written in few digits.
class Thirds final : public Calibration {
 public:
  std::string_view kind() const override { return "thirds"; }
  uint32_t pieces() const override { return 5; }
  std::map<std::string, double> settings() const override { return {{"seed", seed}}; }
  Result<std::vector<double>> run(uint32_t index, const Cancelled& cancelled, const OnShare&) override {
    if (cancelled && cancelled()) return fail(ErrorCode::kCancelled, "stopped");
    ++runs;
    return std::vector<double>{(index + seed) / 3.0, 1e-300 / 7};
  }
  Result<Profile> conclude(std::span<const std::vector<double>> pieces) const override {
    Profile out;
    out.layers = 1;
    out.heads = 2;
    out.values["sum"] = {0, 0};
    for (const std::vector<double>& piece : pieces) {
      for (size_t i = 0; i < 2; ++i) out.values["sum"][i] += piece[i];
    }
    return out;
  }
  double seed = 1;
  int runs = 0;
};

class Calibrations : public testing::Test {
 protected:
  Calibrations() { std::filesystem::remove(run.state_path); }
  ~Calibrations() override { std::filesystem::remove(run.state_path); }

  CalibrationRun run{
      .fingerprint = "model",
      .state_path = testing::TempDir() + testing::UnitTest::GetInstance()->current_test_info()->name() + ".unfinished",
      .command = "loci calibrate",
      .cancelled = {},
      .on_progress = {}};
};

TEST_F(Calibrations, GoOnWhereTheyWereStopped) {
  Thirds whole, parts;
  const Result<Profile> at_once = calibrate(whole, run);
  ASSERT_TRUE(at_once.ok());
  std::filesystem::remove(run.state_path);

  run.cancelled = [&] { return parts.runs == 2; };
  const Result<Profile> stopped = calibrate(parts, run);
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  run.cancelled = {};
  const Result<Profile> resumed = calibrate(parts, run);
  ASSERT_TRUE(resumed.ok()) << resumed.error().message;
  EXPECT_EQ(parts.runs, 5);
  EXPECT_EQ(resumed->values, at_once->values);  // bit for bit
  EXPECT_EQ(resumed->settings, at_once->settings);
  EXPECT_EQ(resumed->kind, "thirds");
  EXPECT_EQ(resumed->command, "loci calibrate");
}

TEST_F(Calibrations, TellsTheShareThatIsDone) {
  Thirds thirds;
  std::vector<double> done;
  run.on_progress = [&](double share, double total) {
    EXPECT_EQ(total, 5);
    done.push_back(share);
  };
  ASSERT_TRUE(calibrate(thirds, run).ok());
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.back(), 5);
}

TEST_F(Calibrations, RefuseTheStateOfAnotherRun) {
  Thirds thirds;
  ASSERT_TRUE(calibrate(thirds, run).ok());
  thirds.seed = 2;
  const Result<Profile> other = calibrate(thirds, run);
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code, ErrorCode::kInvalidArgument);
}

TEST_F(Calibrations, RefuseStatesThatAreNone) {
  for (const char* text : {"", "{}", "[1]", "{\"of\":1}"}) {
    std::ofstream(run.state_path) << text;
    Thirds thirds;
    EXPECT_FALSE(calibrate(thirds, run).ok()) << text;
  }
  // Of the right run, but with pieces that are no numbers.
  Thirds thirds;
  std::filesystem::remove(run.state_path);
  ASSERT_TRUE(calibrate(thirds, run).ok());
  std::ifstream file(run.state_path);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  text.replace(text.find("\"done\":[["), 9, "\"done\":[\"x\",[");
  std::ofstream(run.state_path) << text;
  const Result<Profile> broken = calibrate(thirds, run);
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.error().code, ErrorCode::kCorrupt);
}

Needle ten_tokens() {
  Needle needle{.prompt = {}, .question = 30, .first = 10, .count = 10};
  for (TokenId i = 0; i < 40; ++i) needle.prompt.push_back(100 + i);
  return needle;
}

TEST(CopyCounter, CountsPositionsWhoseTokenIsEmitted) {
  const Needle needle = ten_tokens();
  CopyCounter counter(needle, 5);
  for (uint32_t i = 0; i < 10; ++i) {
    const TokenId next = needle.prompt[10 + i];
    counter.add(0, 10 + i, 1.0, next);                        // copies
    counter.add(1, 11 + i, 0.5, next);                        // looks at the token after
    counter.add(2, i, 0.0, next);                             // outside the needle
    counter.add(3, i < 3 ? 10 + i : 0, i < 3 ? 1 : 0, next);  // copies 3 of 10
    counter.add(4, 10, 0.25, next);                           // stays at the first
    counter.end_row(next);
  }
  EXPECT_EQ(counter.score(0), 1.0);
  EXPECT_EQ(counter.score(1), 0.0);
  EXPECT_EQ(counter.score(2), 0.0);
  EXPECT_DOUBLE_EQ(counter.score(3), 0.3);
  EXPECT_DOUBLE_EQ(counter.score(4), 0.1);
  EXPECT_EQ(counter.mass(0), 1.0);
  EXPECT_EQ(counter.mass(1), 0.5);
  EXPECT_DOUBLE_EQ(counter.mass(3), 0.3);
}

TEST(CopyCounter, CountsAPositionOnceInAnAnswerThatLoops) {
  const Needle needle = ten_tokens();
  CopyCounter counter(needle, 1);
  for (int i = 0; i < 50; ++i) {
    counter.add(0, 10, 1.0, needle.prompt[10]);
    counter.end_row(needle.prompt[10]);
  }
  EXPECT_DOUBLE_EQ(counter.score(0), 0.1);
}

TEST(Needles, RecallCountsTokensAsOftenAsBothHaveThem) {
  Needle needle{.prompt = {1, 7, 7, 8, 9, 2}, .question = 5, .first = 1, .count = 4};
  EXPECT_DOUBLE_EQ(recall(needle, std::vector<TokenId>{7, 7, 8, 9}), 1.0);
  EXPECT_DOUBLE_EQ(recall(needle, std::vector<TokenId>{7, 8}), 0.5);
  EXPECT_DOUBLE_EQ(recall(needle, std::vector<TokenId>{8, 8, 8, 8}), 0.25);
  EXPECT_DOUBLE_EQ(recall(needle, {}), 0.0);
}

TEST(Pictures, ShadeHeadsByTheirNumbers) {
  Profile profile;
  profile.kind = "duo";
  profile.layers = profile.heads = 2;
  profile.values["gate"] = {0, 1, 0.5, 0};
  EXPECT_EQ(text_picture(profile, "gate"),
            "gate: a row a layer, a column a head, '@' is 1\n   0 |   @@|\n   1 |++   |\n");
  const std::string svg = svg_picture(profile);
  EXPECT_NE(svg.find("<title>layer 0, head 1: 1</title>"), std::string::npos);
  EXPECT_NE(svg.find("#fde725"), std::string::npos);
  EXPECT_EQ(svg.rfind("</svg>\n"), svg.size() - 7);
}

}  // namespace
}  // namespace loci

#include "base/progress.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace loci {
namespace {

ProgressState halfway() {
  return {.label = "reading", .unit = ProgressUnit::kTokens, .done = 500, .total = 1000, .begun = 0, .seconds = 2};
}

TEST(ProgressLine, ShowsShareAmountRateAndTimeLeft) {
  EXPECT_EQ(progress_line(halfway(), 200),
            "reading [###############...............]  50%  500/1000 tokens  250 tok/s  2.00 s left");
}

TEST(ProgressLine, ResumedWorkIsNotPartOfTheRate) {
  ProgressState state = halfway();
  state.begun = 400;  // 100 in 2 s, 500 to go
  const std::string line = progress_line(state, 200);
  EXPECT_NE(line.find(" 50.0 tok/s  10.0 s left"), std::string::npos) << line;
}

TEST(ProgressLine, UnknownTotalHasNoBar) {
  const ProgressState state{
      .label = "model.gguf", .unit = ProgressUnit::kBytes, .done = 2048, .total = 0, .begun = 0, .seconds = 1};
  EXPECT_EQ(progress_line(state, 200), "model.gguf 2.00 KiB  2.00 KiB/s");
}

TEST(ProgressLine, MoreThanTheTotalIsFull) {
  ProgressState state = halfway();
  state.done = 5000;
  const std::string line = progress_line(state, 200);
  EXPECT_NE(line.find("100%"), std::string::npos) << line;
  EXPECT_EQ(line.find("left"), std::string::npos) << line;
}

TEST(ProgressLine, NothingDoneYetHasNoRate) {
  ProgressState state = halfway();
  state.done = 0;
  EXPECT_EQ(progress_line(state, 200).find("tok/s"), std::string::npos);
}

TEST(ProgressLine, FitsEveryWidth) {
  for (size_t columns = 0; columns < 120; ++columns) {
    const std::string line = progress_line(halfway(), columns);
    EXPECT_LE(line.size(), columns);
    const size_t open = line.find('[');
    if (open != std::string::npos) {
      EXPECT_NE(line.find(']'), std::string::npos) << line;
    }
  }
}

TEST(ProgressBar, WritesNothingToAFile) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  {
    ProgressBar bar("reading", ProgressUnit::kTokens, file);
    for (uint64_t i = 0; i <= 10; ++i) bar.update(i, 10);
  }
  EXPECT_EQ(std::ftell(file), 0);
  std::fclose(file);
}

}  // namespace
}  // namespace loci

#include "base/log.h"

#include <gtest/gtest.h>

namespace loci {
namespace {

TEST(Log, LevelsFilter) {
  open_log(LogLevel::kWarning);
  EXPECT_FALSE(log_enabled(LogLevel::kInfo));
  EXPECT_TRUE(log_enabled(LogLevel::kWarning));
  EXPECT_TRUE(log_enabled(LogLevel::kError));
  open_log(LogLevel::kOff);
  EXPECT_FALSE(log_enabled(LogLevel::kError));
  EXPECT_FALSE(log_enabled(LogLevel::kOff));
  open_log(LogLevel::kWarning);
}

TEST(Log, WritesOneLineToStderr) {
  open_log(LogLevel::kInfo);
  testing::internal::CaptureStderr();
  log_message(LogLevel::kDebug, "not {}", "this");
  log_message(LogLevel::kInfo, "{} + {} {{}} %v", 1, 2);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("info 1 + 2 {} %v\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("not this"), std::string::npos) << text;
  open_log(LogLevel::kWarning);
}

TEST(Log, NamesOfLevels) {
  EXPECT_EQ(*parse_log_level("debug"), LogLevel::kDebug);
  EXPECT_EQ(*parse_log_level("off"), LogLevel::kOff);
  ASSERT_FALSE(parse_log_level("loud").ok());
  EXPECT_NE(parse_log_level("loud").error().message.find("'loud'"), std::string::npos);
}

}  // namespace
}  // namespace loci

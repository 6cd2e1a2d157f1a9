#include "base/signals.h"

#include <gtest/gtest.h>

#include <csignal>

namespace loci {
namespace {

TEST(Interrupts, FirstSignalSetsTheFlag) {
  Interrupts interrupts;
  EXPECT_FALSE(interrupts.raised());
  std::raise(SIGINT);
  EXPECT_TRUE(interrupts.raised());
  EXPECT_TRUE(interrupts.flag()->load());
  interrupts.clear();
  EXPECT_FALSE(interrupts.raised());
  std::raise(SIGTERM);
  EXPECT_TRUE(interrupts.raised());
}

TEST(Interrupts, SecondSignalEndsTheProcessWith130) {
  EXPECT_EXIT(
      {
        Interrupts interrupts;
        std::raise(SIGINT);
        std::raise(SIGINT);
      },
      ::testing::ExitedWithCode(kExitInterrupted), "");
}

TEST(Interrupts, ClearedSignalDoesNotCount) {
  Interrupts interrupts;
  for (int i = 0; i < 3; ++i) {
    std::raise(SIGINT);
    interrupts.clear();
  }
  EXPECT_FALSE(interrupts.raised());
}

TEST(Interrupts, RestoresTheEarlierHandler) {
  struct sigaction before {};
  sigaction(SIGINT, nullptr, &before);
  { const Interrupts interrupts; }
  struct sigaction after {};
  sigaction(SIGINT, nullptr, &after);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
}

TEST(InterruptsDeathTest, TwoAtOnceAreOurMistake) {
  EXPECT_DEATH(
      {
        const Interrupts first;
        const Interrupts second;
      },
      "two Interrupts");
}

}  // namespace
}  // namespace loci

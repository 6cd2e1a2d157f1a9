#include "attention/plan.h"

#include <gtest/gtest.h>

namespace loci {
namespace {

TEST(AttentionPlan, ParsesAndPrintsBack) {
  for (const char* text : {"dense", " dense ;", "store=kv16", "store = kv16 ; dense"}) {
    const auto plan = AttentionPlan::parse(text);
    ASSERT_TRUE(plan.ok()) << text;
    EXPECT_EQ(plan->canonical(), "dense");
  }
  for (const char* name : {"kv8", "kv4"}) {
    const auto plan = AttentionPlan::parse(std::string("dense; store=") + name);
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan->canonical(), std::string("store=") + name);
    EXPECT_EQ(*AttentionPlan::parse(plan->canonical()), *plan);
  }
}

TEST(AttentionPlan, NamesWhatItDoesNotUnderstand) {
  const auto message = [](const char* text) { return AttentionPlan::parse(text).error().message; };
  EXPECT_NE(message("store=kv5").find("kv5"), std::string::npos);
  EXPECT_NE(message("select=magic").find("select=magic"), std::string::npos);
  EXPECT_NE(message("store=kv8;store=kv4").find("twice"), std::string::npos);
  EXPECT_NE(message("  ").find("empty"), std::string::npos);
}

}  // namespace
}  // namespace loci

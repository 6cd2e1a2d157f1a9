#include "base/cpu.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace loci {
namespace {

TEST(Cpu, ScalarIsAlwaysThereAndComesFirst) {
  const std::vector<Isa> isas = supported_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::kScalar);
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
  EXPECT_EQ(isas.back(), best_isa());
}

TEST(Cpu, EverySupportedNameParses) {
  for (const Isa isa : supported_isas()) {
    const Result<Isa> parsed = parse_isa(to_string(isa));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, isa);
  }
  EXPECT_EQ(*parse_isa("auto"), best_isa());
}

TEST(Cpu, UnknownNamesAreErrorsThatListTheKnownOnes) {
  const Result<Isa> parsed = parse_isa("sse9");
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(parsed.error().message.find("avx512"), std::string::npos);
}

TEST(Cpu, ThisMachineHasAProcessor) {
  EXPECT_FALSE(cpu_info().model.empty());
  EXPECT_GE(cpu_info().cores, 1);
  EXPECT_TRUE(!cpu_info().avx512 || cpu_info().avx2);
  EXPECT_TRUE(!cpu_info().amx || cpu_info().avx512);
}

}  // namespace
}  // namespace loci

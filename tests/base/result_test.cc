#include "loci/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "base/error.h"

namespace loci {
namespace {

Result<int> half_of(int n) {
  if (n % 2 != 0) return fail(ErrorCode::kInvalidArgument, "{} is odd", n);
  return n / 2;
}

Result<int> quarter_of(int n) {
  LOCI_TRY(const int half, half_of(n));
  LOCI_TRY(const int quarter, half_of(half));
  return quarter;
}

Status must_be_even(int n) {
  LOCI_CHECK(half_of(n));
  return {};
}

Result<std::unique_ptr<int>> boxed(int n) {
  LOCI_TRY(const int half, half_of(n));
  return std::make_unique<int>(half);
}

TEST(Result, HoldsAValue) {
  const Result<int> result = quarter_of(12);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(static_cast<bool>(result));
  EXPECT_EQ(*result, 3);
}

TEST(Result, PassesTheFirstErrorOn) {
  const Result<int> result = quarter_of(6);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(result.error().message, "3 is odd");
}

TEST(Result, CheckReturnsTheErrorOfAStatus) {
  EXPECT_TRUE(must_be_even(2).ok());
  ASSERT_FALSE(must_be_even(7).ok());
  EXPECT_EQ(must_be_even(7).error().message, "7 is odd");
}

TEST(Result, MovesWhatCannotBeCopied) {
  Result<std::unique_ptr<int>> result = boxed(8);
  ASSERT_TRUE(result.ok());
  const std::unique_ptr<int> owner = *std::move(result);
  EXPECT_EQ(*owner, 4);
}

TEST(Result, AnErrorCanBeTheValueOfAnotherKindOfString) {
  const Result<std::string> text = std::string("fine");
  EXPECT_EQ(text->size(), 4u);
}

TEST(ErrorCode, EveryCodeHasItsOwnName) {
  std::set<std::string> names;
  for (const ErrorCode code :
       {ErrorCode::kInvalidArgument, ErrorCode::kNotFound, ErrorCode::kCorrupt, ErrorCode::kUnsupported,
        ErrorCode::kLimit, ErrorCode::kIo, ErrorCode::kCancelled, ErrorCode::kInternal}) {
    EXPECT_TRUE(names.insert(to_string(code)).second) << to_string(code);
  }
  EXPECT_EQ(names.count("unknown error"), 0u);
}

}  // namespace
}  // namespace loci

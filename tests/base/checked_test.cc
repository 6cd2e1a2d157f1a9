#include "base/checked.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace loci {
namespace {

// Every pair of 8-bit numbers against arithmetic in 32 bits.
template <typename T>
void check_all_pairs() {
  for (int a = std::numeric_limits<T>::min(); a <= std::numeric_limits<T>::max(); ++a) {
    for (int b = std::numeric_limits<T>::min(); b <= std::numeric_limits<T>::max(); ++b) {
      const auto fits = [](int x) { return x >= std::numeric_limits<T>::min() && x <= std::numeric_limits<T>::max(); };
      const auto sum = checked_add(static_cast<T>(a), static_cast<T>(b));
      const auto product = checked_mul(static_cast<T>(a), static_cast<T>(b));
      ASSERT_EQ(sum.has_value(), fits(a + b)) << a << " + " << b;
      ASSERT_EQ(product.has_value(), fits(a * b)) << a << " * " << b;
      if (sum) {
        ASSERT_EQ(int{*sum}, a + b);
      }
      if (product) {
        ASSERT_EQ(int{*product}, a * b);
      }
    }
  }
}

TEST(Checked, AgreesWithWideArithmeticUnsigned) { check_all_pairs<uint8_t>(); }
TEST(Checked, AgreesWithWideArithmeticSigned) { check_all_pairs<int8_t>(); }

TEST(Checked, LargestSizes) {
  constexpr size_t top = std::numeric_limits<size_t>::max();
  EXPECT_FALSE(checked_add<size_t>(top, 1));
  EXPECT_EQ(checked_add<size_t>(top, 0), top);
  EXPECT_FALSE(checked_mul<size_t>(top / 2 + 1, 2));
  EXPECT_EQ(checked_mul<size_t>(top, 0), 0u);
}

TEST(RoundUp, SmallestMultipleNotBelow) {
  for (size_t n = 0; n < 300; ++n) {
    for (size_t step = 1; step < 20; ++step) {
      const size_t rounded = round_up(n, step);
      EXPECT_EQ(rounded % step, 0u);
      EXPECT_GE(rounded, n);
      EXPECT_LT(rounded - n, step);
      EXPECT_EQ(div_up(n, step) * step, rounded);
    }
  }
}

}  // namespace
}  // namespace loci

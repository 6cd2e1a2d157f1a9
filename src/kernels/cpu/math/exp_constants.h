// Constants of the exponential that exp_scalar, exp_avx2 and exp_avx512 share: the three run the same operations in the
// same order, so their results are equal bit for bit.
//
// exp(x) = 2^n * exp(r), n = rint(x / ln 2), r = x - n ln 2 in two fused steps, |r| <= ln 2 / 2. exp(r) is a polynomial
// of degree 6 (relative error 3.1e-9 before rounding; 1e-7 in all). Adding kRound to x / ln 2 leaves n in the low bits
// of the sum, so that 2^n is one shift and one integer addition on the exponent.
#pragma once

namespace loci::exp_constants {

inline constexpr float kLog2E = 0x1.715476p+0F;
inline constexpr float kRound = 12582912.0F;           // 1.5 * 2^23
inline constexpr float kMinusLn2High = -0x1.62e4p-1F;  // 15 bits: n * kMinusLn2High is exact
inline constexpr float kMinusLn2Low = -0x1.7f7d1cp-20F;
inline constexpr float kC6 = 0x1.6a23d0p-10F;
inline constexpr float kC5 = 0x1.123a20p-7F;
inline constexpr float kC4 = 0x1.5558f2p-5F;
inline constexpr float kC3 = 0x1.555492p-3F;
inline constexpr float kC2 = 0x1.fffffcp-2F;
inline constexpr float kLowest = -87.33654F;   // below it the result is smaller than the smallest normal float: 0
inline constexpr float kHighest = 88.722832F;  // above it the result is infinite

}  // namespace loci::exp_constants

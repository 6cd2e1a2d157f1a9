// Every number format against the fp32 numbers of the `gguf` package (tools/make_dequantize_goldens.py), bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "base/half.h"
#include "tensor/dtype.h"
#include "tensor/row_scaled.h"

namespace loci {
namespace {

struct Golden {
  std::vector<std::byte> blocks;
  std::vector<float> numbers;
};

std::string lower(std::string_view name) {
  std::string out(name);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

Golden load_golden(DType dtype) {
  const std::string path = std::string(LOCI_SOURCE_DIR "/tests/data/dequantize/") + lower(info(dtype).name) + ".bin";
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  uint32_t count = 0;
  if (bytes.size() < sizeof count) return {};
  std::memcpy(&count, bytes.data(), sizeof count);
  Golden golden;
  golden.blocks.resize(size_t{count} * info(dtype).block_bytes);
  golden.numbers.resize(size_t{count} * info(dtype).block_elements);
  if (bytes.size() != sizeof count + golden.blocks.size() + golden.numbers.size() * sizeof(float)) return {};
  std::memcpy(golden.blocks.data(), bytes.data() + sizeof count, golden.blocks.size());
  std::memcpy(golden.numbers.data(), bytes.data() + sizeof count + golden.blocks.size(),
              golden.numbers.size() * sizeof(float));
  return golden;
}

class Dequantize : public testing::TestWithParam<DType> {};

TEST_P(Dequantize, EqualsTheReferenceBitForBit) {
  const Golden golden = load_golden(GetParam());
  ASSERT_FALSE(golden.numbers.empty());
  std::vector<float> numbers(golden.numbers.size());
  dequantize_row(GetParam(), golden.blocks.data(), numbers);
  for (size_t i = 0; i < numbers.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(numbers[i]), std::bit_cast<uint32_t>(golden.numbers[i]))
        << "number " << i << ": " << numbers[i] << " and not " << golden.numbers[i];
  }
}

TEST_P(Dequantize, BlocksAreIndependentAndMayLieAnywhere) {
  const Golden golden = load_golden(GetParam());
  ASSERT_FALSE(golden.numbers.empty());
  const size_t elements = info(GetParam()).block_elements, bytes = info(GetParam()).block_bytes;
  for (size_t block = 0; block * elements < golden.numbers.size(); ++block) {
    std::vector<std::byte> shifted(bytes + 1);  // an odd address
    std::memcpy(shifted.data() + 1, golden.blocks.data() + block * bytes, bytes);
    std::vector<float> numbers(elements);
    dequantize_row(GetParam(), shifted.data() + 1, numbers);
    ASSERT_EQ(0, std::memcmp(numbers.data(), golden.numbers.data() + block * elements, elements * sizeof(float)));
  }
}

// Any bytes are a valid block: nothing is read or written outside (the sanitizers watch), whatever the numbers are.
TEST_P(Dequantize, TakesRandomBytes) {
  std::mt19937 random(7);
  const size_t blocks = 64;
  std::vector<std::byte> row(blocks * info(GetParam()).block_bytes);
  for (std::byte& b : row) b = static_cast<std::byte>(random());
  std::vector<float> numbers(blocks * info(GetParam()).block_elements, 12345.0f);
  dequantize_row(GetParam(), row.data(), numbers);
  EXPECT_LT(std::count(numbers.begin(), numbers.end(), 12345.0f), 2) << "numbers were left unwritten";
}

std::string format_name(const testing::TestParamInfo<DType>& param) { return lower(info(param.param).name); }

// Rows with one scale are Loci's own: row_scaled_test.cc.
std::vector<DType> gguf_formats() {
  std::vector<DType> out;
  for (const DType dtype : all_dtypes()) {
    if (!is_row_scaled(dtype)) out.push_back(dtype);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Formats, Dequantize, testing::ValuesIn(gguf_formats()), format_name);

TEST(Dequantize16Bit, EveryHalfAndBfloat16Pattern) {
  std::vector<uint16_t> patterns(65536);
  for (size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<uint16_t>(i);
  const auto* row = reinterpret_cast<const std::byte*>(patterns.data());
  std::vector<float> halves(patterns.size()), brains(patterns.size());
  dequantize_row(DType::kF16, row, halves);
  dequantize_row(DType::kBF16, row, brains);
  for (size_t i = 0; i < patterns.size(); ++i) {
    const int exponent = static_cast<int>(i >> 10) & 31, fraction = static_cast<int>(i) & 1023;
    float value = std::ldexp(static_cast<float>(exponent ? 1024 + fraction : fraction), std::max(exponent, 1) - 25);
    if (i & 0x8000) value = -value;
    if (exponent == 31) {
      ASSERT_EQ(std::isnan(halves[i]), fraction != 0);
      ASSERT_TRUE(fraction != 0 || std::isinf(halves[i]));
    } else {
      ASSERT_EQ(halves[i], value) << "pattern " << i;
      ASSERT_EQ(std::signbit(halves[i]), (i & 0x8000) != 0);
    }
    ASSERT_EQ(std::bit_cast<uint32_t>(brains[i]), static_cast<uint32_t>(i) << 16);
  }
}

}  // namespace
}  // namespace loci

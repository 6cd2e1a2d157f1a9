#include "io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "io/allocation_meter.h"
#include "io/safetensors_writer.h"

namespace loci {
namespace {

using testing::HasSubstr;

std::string entry(std::string_view name, std::string_view format, std::string_view shape, uint64_t begin,
                  uint64_t end) {
  return safetensors_entry(name, format, shape, begin, end);
}

std::string error_of(const std::vector<std::byte>& file) {
  const auto tensors = parse_safetensors(file);
  return tensors.ok() ? "" : tensors.error().message;
}
std::string error_of(std::string_view header, size_t data_bytes) {
  return error_of(safetensors_file(header, data_bytes));
}

// Not in the order of the data, with notes and a format that Loci does not have.
std::vector<std::byte> good_file() {
  return safetensors_file("{\"__metadata__\": {\"format\": \"pt\"}, " + entry("b", "BF16", "[2, 3]", 8, 20) + ", " +
                              entry("a", "F32", "[2]", 0, 8) + ", " + entry("scalar", "F16", "[]", 20, 22) + ", " +
                              entry("ids", "I64", "[1]", 22, 30) + "}  ",
                          30);
}

TEST(Safetensors, ReadsTensors) {
  const std::vector<std::byte> file = good_file();
  const auto tensors = parse_safetensors(file);
  ASSERT_TRUE(tensors.ok()) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 4u);
  const SafeTensor& b = (*tensors)[0];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.dtype, DType::kBF16);
  EXPECT_EQ(b.shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(b.data.size(), 12u);
  EXPECT_EQ(b.data.data(), (*tensors)[1].data.data() + 8);
  EXPECT_EQ((*tensors)[1].dtype, DType::kF32);
  EXPECT_EQ((*tensors)[2].shape, (std::vector<uint64_t>{1}));
  EXPECT_EQ((*tensors)[2].dtype, DType::kF16);
  EXPECT_EQ((*tensors)[3].dtype, std::nullopt);
  EXPECT_EQ((*tensors)[3].format, "I64");
  EXPECT_EQ((*tensors)[3].data.data() + 8, file.data() + file.size());
}

TEST(Safetensors, ReadsAFileWithoutTensors) {
  const auto tensors = parse_safetensors(safetensors_file("{}", 0));
  ASSERT_TRUE(tensors.ok());
  EXPECT_TRUE(tensors->empty());
}

TEST(Safetensors, RefusesLyingHeaderLengths) {
  EXPECT_THAT(error_of(std::vector<std::byte>(7)), HasSubstr("it has 7 bytes"));
  for (const uint64_t lie : {uint64_t{3}, uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    const std::vector<std::byte> file = safetensors_file("{}", 0, lie);
    const AllocationMeter meter;
    EXPECT_THAT(error_of(file), HasSubstr("at most 2 are possible"));
    EXPECT_LT(meter.peak_bytes(), 4096u);
  }
  EXPECT_THAT(error_of(safetensors_file("{}", 0, 1)), HasSubstr("not JSON"));
}

TEST(Safetensors, RefusesOtherJson) {
  EXPECT_THAT(error_of("[]", 0), HasSubstr("an array in a place"));
  EXPECT_THAT(error_of("7", 0), HasSubstr("a number in a place"));
  EXPECT_THAT(error_of(R"({"w": 7})", 0), HasSubstr("a number in a place"));
  EXPECT_THAT(error_of(R"({"w": null})", 0), HasSubstr("null in a place"));
  EXPECT_THAT(error_of(R"({"w": {"shape": [[1]]}})", 0), HasSubstr("an array in a place"));
  EXPECT_THAT(error_of(R"({"w": {"shape": {}}})", 0), HasSubstr("an object in a place"));
  EXPECT_THAT(error_of(R"({"w": {"shape": [-1]}})", 0), HasSubstr("a negative number in a place"));
  EXPECT_THAT(error_of(R"({"w": {"shape": [1.5]}})", 0), HasSubstr("a fraction in a place"));
  EXPECT_THAT(error_of(R"({"w": {"shape": "1"}})", 0), HasSubstr("a string in a place"));
  EXPECT_THAT(error_of(R"({"w": {"dtype": true}})", 0), HasSubstr("a boolean in a place"));
  EXPECT_THAT(error_of(R"({"w": {"extra": 1}})", 0), HasSubstr("unknown field 'extra'"));
  EXPECT_THAT(error_of(R"({"w": {"dtype": "F32"}})", 0),
              HasSubstr("lacks dtype, shape or data_offsets for tensor 'w'"));
  EXPECT_THAT(error_of(R"({"w": {"dtype": "F32", "dtype": "F32"}})", 0), HasSubstr("'dtype' twice"));
  EXPECT_THAT(error_of(R"({"w": {"shape": [1,1,1,1,1,1,1,1,1]}})", 0), HasSubstr("more than 8 numbers"));
  EXPECT_THAT(error_of("{} {}", 0), HasSubstr("not JSON"));
  EXPECT_THAT(error_of("{" + entry("w", "F32", "[1]", 0, 4) + "," + entry("w", "F32", "[1]", 4, 8) + "}", 8),
              HasSubstr("the key 'w' twice"));
}

TEST(Safetensors, RefusesWrongSizes) {
  const auto one = [](std::string_view format, std::string_view shape, uint64_t begin, uint64_t end) {
    return error_of("{" + entry("w", format, shape, begin, end) + "}", 16);
  };
  EXPECT_EQ(one("F32", "[2, 2]", 0, 16), "");
  EXPECT_THAT(one("F32", "[3]", 0, 16), HasSubstr("12 bytes by its shape, but 16"));
  EXPECT_THAT(one("F32", "[0]", 0, 0), HasSubstr("extent of 0"));
  EXPECT_THAT(one("F32", "[4294967296, 4294967296]", 0, 16), HasSubstr("above 2^64"));
  EXPECT_THAT(one("F32", "[4611686018427387905]", 0, 16), HasSubstr("above 2^64"));  // 4 bytes, if it wrapped
  EXPECT_THAT(one("F32", "[18446744073709551616]", 0, 16), HasSubstr("a fraction in a place"));
  EXPECT_THAT(one("F32", "[5]", 0, 20), HasSubstr("but the file has 16 bytes"));
  EXPECT_THAT(one("F32", "[1]", 12, 8), HasSubstr("data_offsets 12 to 8"));
  EXPECT_THAT(one("F32", "[1]", 18446744073709551612u, 0), HasSubstr("data_offsets"));
  EXPECT_THAT(one("Q4", "[4]", 0, 16), HasSubstr("number format 'Q4'"));
  EXPECT_THAT(one("F32", "[3]", 0, 12), HasSubstr("end at byte 12 of the data, but the file has 16"));
  EXPECT_THAT(one("F32", "[3]", 4, 16), HasSubstr("starts at byte 4 of the data, 0 was expected"));
}

TEST(Safetensors, RefusesGapsAndOverlaps) {
  const auto two = [](uint64_t begin) {
    return error_of("{" + entry("a", "F32", "[2]", 0, 8) + "," + entry("b", "F32", "[2]", begin, begin + 8) + "}",
                    begin + 8);
  };
  EXPECT_EQ(two(8), "");
  EXPECT_THAT(two(4), HasSubstr("gap or overlap"));
  EXPECT_THAT(two(0), HasSubstr("gap or overlap"));
  EXPECT_THAT(two(12), HasSubstr("'b' starts at byte 12 of the data, 8 was expected"));
}

TEST(Safetensors, TruncatedAnywhere) {
  const std::vector<std::byte> whole = good_file();
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::vector<std::byte> file(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_NE(error_of(file), "") << "cut to " << length << " of " << whole.size();
  }
}

TEST(Safetensors, EveryByteChanged) {
  const std::vector<std::byte> whole = good_file();
  std::mt19937 random(13);
  for (size_t i = 0; i < whole.size(); ++i) {
    for (int variant = 0; variant < 8; ++variant) {
      std::vector<std::byte> file = whole;
      file[i] = static_cast<std::byte>(random());
      const auto tensors = parse_safetensors(file);
      if (!tensors.ok()) continue;
      for (const SafeTensor& tensor : *tensors) {
        ASSERT_GE(tensor.data.data(), file.data());
        ASSERT_LE(tensor.data.data() + tensor.data.size(), file.data() + file.size());
      }
    }
  }
}

// Nesting costs nothing: the reader stops at the first bracket that the format does not have.
TEST(Safetensors, DeepNestingIsRefusedAtOnce) {
  const std::vector<std::byte> file = safetensors_file(std::string(1'000'000, '['), 0);
  const AllocationMeter meter;
  EXPECT_THAT(error_of(file), HasSubstr("an array in a place"));
  EXPECT_LT(meter.peak_bytes(), 16'384u);
}

}  // namespace
}  // namespace loci

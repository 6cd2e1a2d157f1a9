#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

namespace loci {
namespace {

TEST(DType, EveryFormatHasItsOwnNameAndGgufNumber) {
  std::set<std::string_view> names;
  for (const DType dtype : all_dtypes()) names.insert(info(dtype).name);
  EXPECT_EQ(names.size(), all_dtypes().size());
  std::set<DType> found;
  for (uint32_t type = 0; type < 1100; ++type) {
    const auto dtype = dtype_from_gguf(type);
    EXPECT_TRUE(!dtype || found.insert(*dtype).second) << type;
  }
  EXPECT_EQ(found.size(), all_dtypes().size());
}

TEST(DType, NumbersOfTheGgufFormat) {
  EXPECT_EQ(dtype_from_gguf(0), DType::kF32);
  EXPECT_EQ(dtype_from_gguf(8), DType::kQ8_0);
  EXPECT_EQ(dtype_from_gguf(12), DType::kQ4_K);
  EXPECT_EQ(dtype_from_gguf(30), DType::kBF16);
  EXPECT_EQ(dtype_from_gguf(39), DType::kMXFP4);
  EXPECT_EQ(dtype_from_gguf(4), std::nullopt);  // numbers that the format has given up
  EXPECT_EQ(dtype_from_gguf(9), std::nullopt);  // q8_1: never stored
  EXPECT_EQ(dtype_from_gguf(std::numeric_limits<uint32_t>::max()), std::nullopt);
}

TEST(DType, RowsAreWholeBlocks) {
  for (const DType dtype : all_dtypes()) {
    const DTypeInfo& format = info(dtype);
    EXPECT_EQ(row_bytes(dtype, 0), 0u);
    EXPECT_EQ(row_bytes(dtype, 7 * uint64_t{format.block_elements}), format.header_bytes + 7u * format.block_bytes)
        << format.name;
    if (format.block_elements > 1) {
      EXPECT_EQ(row_bytes(dtype, format.block_elements - 1), std::nullopt) << format.name;
    }
  }
}

TEST(DType, RowBytesDoNotWrap) {
  EXPECT_EQ(row_bytes(DType::kF32, uint64_t{1} << 62), std::nullopt);
  EXPECT_EQ(row_bytes(DType::kF32, std::numeric_limits<uint64_t>::max()), std::nullopt);
  EXPECT_EQ(row_bytes(DType::kF32, (uint64_t{1} << 62) - 1), (uint64_t{1} << 62) * 4 - 4);
}

}  // namespace
}  // namespace loci

#include "base/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

namespace loci {
namespace {

TEST(Buffer, IsZeroedAlignedAndWhole) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{4096}, (size_t{1} << 20) - 1, size_t{1} << 20,
                             (size_t{9} << 20) + 12345}) {
    Result<Buffer> buffer = Buffer::allocate(bytes);
    ASSERT_TRUE(buffer.ok()) << bytes;
    EXPECT_EQ(buffer->size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    EXPECT_TRUE(std::all_of(buffer->data(), buffer->data() + bytes, [](std::byte b) { return b == std::byte{0}; }));
    if (bytes > 0) std::memset(buffer->data(), 0xff, bytes);  // every byte is ours
  }
}

TEST(Buffer, MovesItsMemory) {
  Buffer a = *Buffer::allocate(100);
  a.data()[7] = std::byte{42};
  const std::byte* where = a.data();
  Buffer b = std::move(a);
  EXPECT_EQ(b.data(), where);
  Buffer c = *Buffer::allocate(size_t{2} << 20);
  c = std::move(b);
  EXPECT_EQ(c.size(), 100u);
  EXPECT_EQ(c.data()[7], std::byte{42});
}

TEST(Arena, PiecesAreApartAlignedAndOutliveIt) {
  std::vector<Buffer> pieces;
  {
    Arena arena;
    // Together more than a block, and one that is larger than a block.
    for (const size_t bytes :
         {size_t{1}, size_t{100}, size_t{40} << 20, size_t{30} << 20, size_t{80} << 20, size_t{0}}) {
      Result<Buffer> piece = arena.take(bytes);
      ASSERT_TRUE(piece.ok());
      EXPECT_EQ(piece->size(), bytes);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(piece->data()) % 64, 0u);
      pieces.push_back(*std::move(piece));
    }
  }
  for (size_t i = 0; i < pieces.size(); ++i) std::memset(pieces[i].data(), static_cast<int>(i + 1), pieces[i].size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::byte* data = pieces[i].data();
    EXPECT_TRUE(std::all_of(data, data + pieces[i].size(), [i](std::byte b) { return b == std::byte(i + 1); })) << i;
  }
}

TEST(Buffer, ViewsAsNumbers) {
  Buffer buffer = *Buffer::allocate(18);
  EXPECT_EQ(buffer.as<float>().size(), 4u);
  EXPECT_EQ(buffer.as<uint16_t>().size(), 9u);
}

TEST(Buffer, RefusesImpossibleSizes) {
  for (const size_t bytes :
       {std::numeric_limits<size_t>::max(), std::numeric_limits<size_t>::max() / 2, size_t{1} << 60}) {
    const Result<Buffer> buffer = Buffer::allocate(bytes);
    ASSERT_FALSE(buffer.ok()) << bytes;
    EXPECT_EQ(buffer.error().code, ErrorCode::kLimit);
    EXPECT_NE(buffer.error().message.find("MiB"), std::string::npos);
  }
}

// Given-back blocks leave the process: a hundred times 64 MiB would not fit otherwise.
TEST(Buffer, GivesLargeBlocksBack) {
  const uint64_t before = peak_resident_bytes();
  for (int i = 0; i < 100; ++i) {
    Buffer buffer = *Buffer::allocate(size_t{64} << 20);
    for (size_t at = 0; at < buffer.size(); at += 4096) buffer.data()[at] = std::byte{1};
  }
  EXPECT_LT(peak_resident_bytes(), before + (uint64_t{200} << 20));
}

TEST(Memory, MeasuresSomethingPlausible) {
  EXPECT_GT(available_memory_bytes(), uint64_t{1} << 20);
  EXPECT_LT(available_memory_bytes(), uint64_t{1} << 50);
  EXPECT_GT(peak_resident_bytes(), uint64_t{1} << 20);
}

}  // namespace
}  // namespace loci

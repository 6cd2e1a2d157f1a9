#include "io/gguf_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/gguf_writer.h"

namespace loci {
namespace {

using testing::HasSubstr;

// One value of every kind and tensors of three formats.
GgufWriter good_file() {
  GgufWriter w;
  w.text("general.architecture", "llama").u32("llama.block_count", 2);
  w.entry("u8", GgufWriter::kU8).put<uint8_t>(200);
  w.entry("i8", GgufWriter::kI8).put<int8_t>(-5);
  w.entry("u16", GgufWriter::kU16).put<uint16_t>(60000);
  w.entry("i16", GgufWriter::kI16).put<int16_t>(-30000);
  w.entry("i32", GgufWriter::kI32).put<int32_t>(-7);
  w.entry("u64", GgufWriter::kU64).put<uint64_t>(uint64_t{1} << 63);
  w.entry("i64", GgufWriter::kI64).put<int64_t>(-9);
  w.entry("f32", GgufWriter::kF32).put(0.5f);
  w.entry("f64", GgufWriter::kF64).put(0.1);
  w.entry("yes", GgufWriter::kBool).put<uint8_t>(1);
  w.strings("words", {"a", "", "long enough to need the heap"});
  w.array("ints", GgufWriter::kI32, 3).put<int32_t>(1).put<int32_t>(-2).put<int32_t>(3);
  w.array("floats", GgufWriter::kF32, 2).put(1.5f).put(-2.5f);
  w.array("flags", GgufWriter::kBool, 3).put<uint8_t>(1).put<uint8_t>(0).put<uint8_t>(1);
  w.array("none", GgufWriter::kU8, 0);
  w.tensor("token_embd.weight", {64, 3}, 8, 2 * 34 * 3);
  w.tensor("output_norm.weight", {5}, 0, 20);
  w.tensor("blk.0.cube", {32, 2, 3}, 2, 18 * 6);
  return w;
}

std::string error_of(const std::vector<std::byte>& file) {
  const auto content = parse_gguf(file);
  return content.ok() ? "" : content.error().message;
}
ErrorCode code_of(const std::vector<std::byte>& file) {
  const auto content = parse_gguf(file);
  return content.ok() ? ErrorCode::kInternal : content.error().code;
}

TEST(GgufParser, ReadsEveryKindOfValue) {
  const std::vector<std::byte> file = good_file().bytes();
  const auto content = parse_gguf(file);
  ASSERT_TRUE(content.ok()) << content.error().message;
  EXPECT_EQ(content->version, 3u);
  const auto value = [&](const char* key) { return *content->metadata.find(key); };
  EXPECT_EQ(value("u8"), MetaValue(uint64_t{200}));
  EXPECT_EQ(value("i8"), MetaValue(int64_t{-5}));
  EXPECT_EQ(value("u16"), MetaValue(uint64_t{60000}));
  EXPECT_EQ(value("i16"), MetaValue(int64_t{-30000}));
  EXPECT_EQ(value("llama.block_count"), MetaValue(uint64_t{2}));
  EXPECT_EQ(value("i32"), MetaValue(int64_t{-7}));
  EXPECT_EQ(value("u64"), MetaValue(uint64_t{1} << 63));
  EXPECT_EQ(value("i64"), MetaValue(int64_t{-9}));
  EXPECT_EQ(value("f32"), MetaValue(0.5));
  EXPECT_EQ(value("f64"), MetaValue(0.1));
  EXPECT_EQ(value("yes"), MetaValue(true));
  EXPECT_EQ(value("words"), MetaValue(std::vector<std::string>{"a", "", "long enough to need the heap"}));
  EXPECT_EQ(value("ints"), MetaValue(std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(value("floats"), MetaValue(std::vector<double>{1.5, -2.5}));
  EXPECT_EQ(value("flags"), MetaValue(std::vector<bool>{true, false, true}));
  EXPECT_EQ(value("none"), MetaValue(std::vector<int64_t>{}));
}

TEST(GgufParser, PlacesTensors) {
  const std::vector<std::byte> file = good_file().bytes();
  const auto content = parse_gguf(file);
  ASSERT_TRUE(content.ok()) << content.error().message;
  ASSERT_EQ(content->tensors.size(), 3u);
  const Tensor& embedding = content->tensors[0];
  EXPECT_EQ(embedding.name, "token_embd.weight");
  EXPECT_EQ(embedding.dtype, DType::kQ8_0);
  EXPECT_EQ(embedding.shape, (std::vector<uint64_t>{3, 64}));
  EXPECT_EQ(embedding.rows(), 3u);
  EXPECT_EQ(embedding.columns(), 64u);
  EXPECT_EQ(embedding.data.size(), 204u);
  EXPECT_EQ((embedding.data.data() - file.data()) % 32, 0);
  EXPECT_EQ(content->tensors[1].data.data() - embedding.data.data(), 224);
  EXPECT_EQ(content->tensors[2].rows(), 6u);
  EXPECT_EQ(content->tensors[2].data.data() + 108, file.data() + file.size());
}

TEST(GgufParser, ReadsVersion2AndOtherAlignments) {
  GgufWriter w;
  w.version = 2;
  w.alignment = 64;
  w.u32("general.alignment", 64).tensor("a", {3}, 0, 12).tensor("b", {1}, 0, 4);
  const std::vector<std::byte> file = w.bytes();
  const auto content = parse_gguf(file);
  ASSERT_TRUE(content.ok()) << content.error().message;
  EXPECT_EQ(content->version, 2u);
  EXPECT_EQ(content->tensors[1].data.data() - content->tensors[0].data.data(), 64);
}

TEST(GgufParser, ReadsAVocabularyAlone) {
  GgufWriter w;
  w.strings("tokenizer.ggml.tokens", {"a", "b"});
  const std::vector<std::byte> file = w.bytes();
  const auto content = parse_gguf(file);
  ASSERT_TRUE(content.ok()) << content.error().message;
  EXPECT_TRUE(content->tensors.empty());
}

TEST(GgufParser, RefusesOtherFilesAndVersions) {
  GgufWriter w = good_file();
  w.magic = 0x04034b50;
  EXPECT_THAT(error_of(w.bytes()), HasSubstr("not with the letters GGUF"));
  w = good_file();
  w.version = 1;
  EXPECT_THAT(error_of(w.bytes()), HasSubstr("version is 1"));
  w.version = 4;
  EXPECT_THAT(error_of(w.bytes()), HasSubstr("version is 4"));
  w.version = __builtin_bswap32(3);
  EXPECT_THAT(error_of(w.bytes()), HasSubstr("big-endian"));
  EXPECT_EQ(code_of(w.bytes()), ErrorCode::kUnsupported);
}

TEST(GgufParser, RefusesDuplicates) {
  EXPECT_THAT(error_of(GgufWriter().u32("twin", 1).u32("twin", 2).bytes()), HasSubstr("'twin' occurs twice"));
  EXPECT_THAT(error_of(GgufWriter().tensor("twin", {1}, 0, 4).tensor("twin", {1}, 0, 4).bytes()),
              HasSubstr("'twin' occurs twice"));
}

TEST(GgufParser, RefusesWrongValues) {
  GgufWriter w;
  w.array("matrix", GgufWriter::kArray, 1).put<uint32_t>(GgufWriter::kU8).put<uint64_t>(0);
  EXPECT_THAT(error_of(w.bytes()), HasSubstr("'matrix' is an array of arrays"));
  w = GgufWriter();
  w.entry("odd", 13).put<uint64_t>(0);
  EXPECT_THAT(error_of(w.bytes()), HasSubstr("'odd' has value type 13"));
  w = GgufWriter();
  w.entry("maybe", GgufWriter::kBool).put<uint8_t>(2);
  EXPECT_THAT(error_of(w.bytes()), HasSubstr("'maybe' is a boolean with value 2"));
  w = GgufWriter();
  w.array("huge", GgufWriter::kU64, 1).put(~uint64_t{0});
  EXPECT_THAT(error_of(w.bytes()), HasSubstr("18446744073709551615, above the limit"));
}

TEST(GgufParser, RefusesWrongTensors) {
  EXPECT_THAT(error_of(GgufWriter().info("w", {}, 0, 0).tensor("v", {1}, 0, 4).bytes()),
              HasSubstr("'w' has 0 dimensions"));
  EXPECT_THAT(error_of(GgufWriter().info("w", {1, 1, 1, 1, 1}, 0, 0).bytes()), HasSubstr("'w' has 5 dimensions"));
  EXPECT_THAT(error_of(GgufWriter().tensor("w", {4, 0}, 0, 16).bytes()), HasSubstr("'w' has an extent of 0"));
  EXPECT_THAT(error_of(GgufWriter().tensor("w", {33}, 8, 68).bytes()), HasSubstr("not a multiple of the 32"));
  EXPECT_THAT(error_of(GgufWriter().tensor("w", {1}, 777, 4).bytes()), HasSubstr("'w' has the number format 777"));
  EXPECT_THAT(error_of(GgufWriter().tensor("w", {uint64_t{1} << 40, uint64_t{1} << 40}, 0, 16).bytes()),
              HasSubstr("above 2^64"));
  EXPECT_THAT(error_of(GgufWriter().tensor("w", {4}, 0, 15).bytes()), HasSubstr("needs 16 bytes at offset 0"));
  GgufWriter w;
  w.data_bytes = 128;
  EXPECT_THAT(error_of(w.info("w", {4}, 0, 8).bytes()), HasSubstr("offset 8, not a multiple of the alignment 32"));
  EXPECT_THAT(error_of(w.info("v", {4}, 0, ~uint64_t{31}).bytes()), HasSubstr("not a multiple"));
}

TEST(GgufParser, RefusesOverlapsAndFarOffsets) {
  GgufWriter w;
  w.data_bytes = 128;
  w.info("a", {16}, 0, 0);
  const GgufWriter one = w;
  EXPECT_THAT(error_of(GgufWriter(one).info("b", {4}, 0, 32).bytes()),
              HasSubstr("'b' at offset 32 overlaps tensor 'a'"));
  EXPECT_THAT(error_of(GgufWriter(one).info("b", {4}, 0, ~uint64_t{31}).bytes()),
              HasSubstr("but the file has 128 bytes"));
  EXPECT_EQ(error_of(GgufWriter(one).info("b", {4}, 0, 64).bytes()), "");
}

TEST(GgufParser, RefusesWrongAlignments) {
  for (const uint32_t alignment : {0u, 1u, 4u, 24u, 33u, 1u << 21}) {
    EXPECT_THAT(error_of(GgufWriter().u32("general.alignment", alignment).bytes()), HasSubstr("general.alignment is"))
        << alignment;
  }
  EXPECT_THAT(error_of(GgufWriter().text("general.alignment", "32").bytes()), HasSubstr("not an integer"));
}

TEST(GgufParser, MessagesAreSafeToPrint) {
  const std::string error = error_of(GgufWriter().u32("\x1b[2J\n", 1).u32("\x1b[2J\n", 1).bytes());
  EXPECT_THAT(error, HasSubstr("'\\x1b[2J\\x0a' occurs twice"));
  const std::string name(100'000, 'x');
  EXPECT_LT(error_of(GgufWriter().info(name, {}, 0, 0).bytes()).size(), 300u);
}

}  // namespace
}  // namespace loci

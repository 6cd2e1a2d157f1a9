// Files that lie about their sizes or end early: an error, at once, without memory for what is not there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <random>

#include "io/allocation_meter.h"
#include "io/gguf_parser.h"
#include "io/gguf_writer.h"

namespace loci {
namespace {

using testing::HasSubstr;

constexpr uint64_t kLies[] = {1'000'000,         uint64_t{1} << 31, uint64_t{1} << 32, (uint64_t{1} << 61) + 1,
                              uint64_t{1} << 63, ~uint64_t{0}};

GgufWriter small_file() {
  GgufWriter w;
  w.text("general.architecture", "llama")
      .u32("llama.block_count", 1)
      .strings("tokenizer.ggml.tokens", {"<s>", "a", "bc"});
  w.array("tokenizer.ggml.scores", GgufWriter::kF32, 3).put(0.f).put(1.f).put(2.f);
  w.tensor("token_embd.weight", {32, 3}, 8, 102).tensor("output_norm.weight", {32}, 0, 128);
  return w;
}

// Parses a file that must be refused, and checks what that cost.
void expect_cheap_error(const std::vector<std::byte>& file, const char* message) {
  const AllocationMeter meter;
  const auto content = parse_gguf(file);
  const size_t peak = meter.peak_bytes();
  ASSERT_FALSE(content.ok());
  EXPECT_THAT(content.error().message, HasSubstr(message));
  EXPECT_LE(peak, file.size() + 16'384);
}

TEST(GgufHostile, TruncatedAnywhere) {
  const std::vector<std::byte> whole = small_file().bytes();
  for (size_t length = 0; length < whole.size(); ++length) {
    // A vector of its own, so that a sanitizer sees a read beyond the end.
    const std::vector<std::byte> file(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_FALSE(parse_gguf(file).ok()) << "cut to " << length << " of " << whole.size();
  }
}

TEST(GgufHostile, LyingCounts) {
  for (const uint64_t lie : kLies) {
    GgufWriter w = small_file();
    w.entry_count = lie;
    expect_cheap_error(w.bytes(), "the number of metadata entries is");
    w = small_file();
    w.tensor_count = lie;
    expect_cheap_error(w.bytes(), "the number of tensors is");
  }
}

TEST(GgufHostile, LyingLengths) {
  for (const uint64_t lie : kLies) {
    GgufWriter w;
    w.entry("text", GgufWriter::kString).put(lie).raw("abc");
    expect_cheap_error(w.bytes(), "text needs");
    for (const uint32_t type : {GgufWriter::kU8, GgufWriter::kBool, GgufWriter::kF64, GgufWriter::kString}) {
      w = GgufWriter();
      w.array("list", type, lie).raw("12345678");
      expect_cheap_error(w.bytes(), "list");
    }
  }
}

// 1 MB of good strings, then one that is not there: the good ones are not kept while looking.
TEST(GgufHostile, ABrokenStringAtTheEndOfALongArray) {
  GgufWriter w;
  ByteWriter& list = w.array("list", GgufWriter::kString, 100'001);
  for (int i = 0; i < 100'000; ++i) list.string("ab");
  list.put(uint64_t{1} << 40);
  expect_cheap_error(w.bytes(), "list needs 1099511627776 bytes");
}

TEST(GgufHostile, LyingExtents) {
  for (const uint64_t lie : kLies) {
    for (size_t place = 0; place < 4; ++place) {
      std::vector<uint64_t> extents = {32, 1, 1, 1};
      extents[place] = lie / 32 * 32;
      expect_cheap_error(GgufWriter().tensor("w", extents, 8, 34).bytes(), "'w'");
    }
  }
}

// Whatever single byte is changed, the parser ends with an answer, and its views stay inside the file.
TEST(GgufHostile, EveryByteChanged) {
  const std::vector<std::byte> whole = small_file().bytes();
  std::mt19937 random(11);
  for (size_t i = 0; i < whole.size(); ++i) {
    for (int variant = 0; variant < 4; ++variant) {
      std::vector<std::byte> file = whole;
      file[i] = variant == 0 ? std::byte{0} : variant == 1 ? std::byte{255} : static_cast<std::byte>(random());
      const auto content = parse_gguf(file);
      if (!content.ok()) continue;
      for (const Tensor& tensor : content->tensors) {
        ASSERT_GE(tensor.data.data(), file.data());
        ASSERT_LE(tensor.data.data() + tensor.data.size(), file.data() + file.size());
        ASSERT_EQ(tensor.data.size(), tensor.rows() * *row_bytes(tensor.dtype, tensor.columns()));
      }
    }
  }
}

// A vocabulary of Gemma's size is read in time proportional to its bytes.
TEST(GgufHostile, ALargeVocabularyIsFast) {
  GgufWriter w;
  ByteWriter& list = w.array("tokenizer.ggml.tokens", GgufWriter::kString, 262'144);
  for (int i = 0; i < 262'144; ++i) list.string("token " + std::to_string(i));
  const std::vector<std::byte> file = w.bytes();
  const std::clock_t start = std::clock();  // the processor's time: a busy machine takes none
  const auto content = parse_gguf(file);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  ASSERT_TRUE(content.ok());
  EXPECT_EQ(std::get<std::vector<std::string>>(*content->metadata.find("tokenizer.ggml.tokens")).back(),
            "token 262143");
  EXPECT_LT(seconds, 3.0);  // 20 ms in an optimised build
}

}  // namespace
}  // namespace loci

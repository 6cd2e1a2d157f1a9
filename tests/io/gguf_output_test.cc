#include "io/gguf_output.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "io/checksum.h"
#include "io/gguf_file.h"
#include "io/temporary_folder.h"

namespace loci {
namespace {

Metadata some_metadata() {
  Metadata out;
  out.set("general.architecture", std::string("llama"));
  out.set("a.small", uint64_t{7});
  out.set("a.large", uint64_t{1} << 40);
  out.set("a.negative", int64_t{-3});
  out.set("a.half", 0.5);
  out.set("a.third", 1.0 / 3);
  out.set("a.flag", true);
  out.set("a.words", std::vector<std::string>{"one", "", "three"});
  out.set("a.numbers", std::vector<double>{0.25, 1e-300});
  out.set("a.signed", std::vector<int64_t>{-1, 1});
  out.set("a.flags", std::vector<bool>{true, false, true});
  return out;
}

std::vector<std::byte> patterned(size_t count, int seed) {
  std::vector<std::byte> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<std::byte>((i * 37 + static_cast<size_t>(seed)) & 0x3f);
  return out;
}

std::vector<char> content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class GgufOutputTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = folder_.path() / "made.gguf";
    auto out = GgufOutput::create(path_, some_metadata(),
                                  {{"first", DType::kF32, {3, 5}}, {"second", DType::kW4G64, {2, 128}}});
    ASSERT_TRUE(out.ok()) << out.error().message;
    ASSERT_TRUE(out->add(patterned(60, 1)).ok());
    ASSERT_TRUE(out->add(patterned(140, 2)).ok());
    EXPECT_FALSE(std::filesystem::exists(path_));
    ASSERT_TRUE(out->finish().ok());
  }

  TemporaryFolder folder_;
  std::filesystem::path path_;
};

TEST_F(GgufOutputTest, ReadsBackAsWritten) {
  const auto file = open_gguf(path_);
  ASSERT_TRUE(file.ok()) << file.error().message;
  const Metadata expected = some_metadata();
  for (const auto& [key, value] : expected.values()) {
    const MetaValue* read = (*file)->metadata().find(key);
    ASSERT_NE(read, nullptr) << key;
    EXPECT_EQ(*read, value) << key;
  }
  ASSERT_EQ((*file)->tensors().size(), 2u);
  const Tensor& second = (*file)->tensors()[1];
  EXPECT_EQ(second.name, "second");
  EXPECT_EQ(second.dtype, DType::kW4G64);
  EXPECT_EQ(second.shape, (std::vector<uint64_t>{2, 128}));
  EXPECT_TRUE(std::ranges::equal(second.data, patterned(140, 2)));
  for (const Tensor& tensor : (*file)->tensors()) EXPECT_TRUE((*file)->check(tensor).ok());
}

// Every byte but the padding between tensors is watched: a flipped bit is refused, by the section's name.
TEST_F(GgufOutputTest, DamageIsFoundAndNamed) {
  const std::vector<char> whole = content_of(path_);
  const size_t data = whole.size() - 64 - 160;  // each tensor padded to 32
  for (size_t at = 0; at < whole.size(); at += at < data ? 1 : 7) {
    if ((at >= data + 60 && at < data + 64) || at >= data + 64 + 140) continue;
    std::vector<char> damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    const std::filesystem::path copy = folder_.path() / "damaged.gguf";
    std::ofstream(copy, std::ios::binary).write(damaged.data(), static_cast<std::streamsize>(damaged.size()));
    const auto file = open_gguf(copy);
    if (at < data) {
      const bool padding = file.ok() && (*file)->check((*file)->tensors()[0]).ok() &&
                           (*file)->check((*file)->tensors()[1]).ok() && whole[at] == 0 && at + 32 > data;
      EXPECT_TRUE(!file.ok() || padding) << "byte " << at << " of the header";
      continue;
    }
    ASSERT_TRUE(file.ok()) << at;
    const size_t hit = at < data + 64 ? 0 : 1;
    EXPECT_TRUE((*file)->check((*file)->tensors()[1 - hit]).ok());
    const Status found = (*file)->check((*file)->tensors()[hit]);
    ASSERT_FALSE(found.ok()) << at;
    EXPECT_EQ(found.error().code, ErrorCode::kCorrupt);
    EXPECT_NE(found.error().message.find(hit == 0 ? "'first'" : "'second'"), std::string::npos);
  }
}

TEST(GgufOutput, WhatIsNotFinishedIsNotThere) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "never.gguf";
  {
    auto out = GgufOutput::create(path, {}, {{"only", DType::kF32, {4}}});
    ASSERT_TRUE(out.ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_EQ(GgufOutput::create(folder.path() / "no" / "where.gguf", {}, {}).error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace loci

// GGUF files on disk: one file, split files, the model that ships with the repository.
#include "io/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "io/gguf_writer.h"
#include "io/mapped_file.h"
#include "io/temporary_folder.h"

namespace loci {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Part `index` of `count`, with one tensor; metadata in the first part only.
GgufWriter part(uint32_t index, uint32_t count, uint32_t promised = 3) {
  GgufWriter w;
  if (index == 0) w.text("general.architecture", "qwen2");
  w.entry("split.no", GgufWriter::kU16).put(static_cast<uint16_t>(index));
  w.entry("split.count", GgufWriter::kU16).put(static_cast<uint16_t>(count));
  w.entry("split.tensors.count", GgufWriter::kI32).put(static_cast<int32_t>(promised));
  w.tensor("tensor" + std::to_string(index), {2}, 0, 8);
  return w;
}

std::string error_of(const std::filesystem::path& path) {
  const auto model = open_model_file(path);
  return model.ok() ? "" : model.error().message;
}

TEST(ModelFile, OpensTheShippedModel) {
  const auto model = open_model_file(LOCI_SOURCE_DIR "/models/needle-14m-q8_0.gguf");
  ASSERT_TRUE(model.ok()) << model.error().message;
  const ModelFile& file = **model;
  EXPECT_EQ(file.format(), "GGUF v3");
  EXPECT_EQ(file.tensors().size(), 56u);
  EXPECT_EQ(file.file_bytes(), 14'920'672u);
  EXPECT_EQ(file.rope_pairing(), RopePairing::kAdjacent);
  EXPECT_TRUE(file.norms_store_offset());
  EXPECT_TRUE(file.tokenizer_json().empty());
  EXPECT_EQ(*file.metadata().u32("llama.block_count"), 6u);
  const Tensor* q = file.find("blk.0.attn_q.weight");
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(q->dtype, DType::kQ8_0);
  EXPECT_EQ(q->shape, (std::vector<uint64_t>{512, 512}));
  EXPECT_EQ(file.find("blk.6.attn_q.weight"), nullptr);
}

TEST(ModelFile, PairsHalvesForOtherFamilies) {
  const TemporaryFolder folder;
  const auto model =
      open_model_file(folder.write("q.gguf", GgufWriter().text("general.architecture", "qwen2").bytes()));
  ASSERT_TRUE(model.ok());
  EXPECT_EQ((*model)->rope_pairing(), RopePairing::kHalves);
}

TEST(ModelFile, OpensAllPartsOfASplitModel) {
  const TemporaryFolder folder;
  for (uint32_t i = 3; i-- > 0;) folder.write(fmt::format("m-{:05}-of-00003.gguf", i + 1), part(i, 3).bytes());
  const auto model = open_model_file(folder.path() / "m-00001-of-00003.gguf");
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ((*model)->tensors().size(), 3u);
  EXPECT_NE((*model)->find("tensor2"), nullptr);
  EXPECT_EQ(*(*model)->metadata().text("general.architecture"), "qwen2");
  EXPECT_EQ((*model)->file_bytes(), part(0, 3).bytes().size() + 2 * part(1, 3).bytes().size());
  EXPECT_THAT(error_of(folder.path() / "m-00002-of-00003.gguf"), HasSubstr("part 2 of 3; open the first part"));
}

TEST(ModelFile, RefusesPartsThatDoNotBelongTogether) {
  const TemporaryFolder folder;
  const auto first = folder.write("m-00001-of-00002.gguf", part(0, 2, 2).bytes());
  EXPECT_THAT(error_of(first), AllOf(HasSubstr("m-00002-of-00002.gguf"), HasSubstr("No such file")));
  folder.write("m-00002-of-00002.gguf", part(2, 3, 2).bytes());
  EXPECT_THAT(error_of(first), HasSubstr("says that it is part 3 of 3"));
  folder.write("m-00002-of-00002.gguf", part(1, 2, 2).tensor("tensor0", {2}, 0, 8).bytes());
  EXPECT_THAT(error_of(first), HasSubstr("'tensor0' occurs in two parts"));
  folder.write("m-00002-of-00002.gguf", part(1, 2, 2).tensor("more", {2}, 0, 8).bytes());
  EXPECT_THAT(error_of(first), HasSubstr("split.tensors.count is 2, but the 2 parts hold 3"));
  EXPECT_THAT(error_of(folder.write("m.gguf", part(0, 2, 2).bytes())), HasSubstr("does not end in"));
}

TEST(ModelFile, NamesTheFileInErrors) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of(folder.path() / "absent.gguf"), AllOf(HasSubstr("absent.gguf"), HasSubstr("No such file")));
  EXPECT_THAT(error_of(folder.write("bad.gguf", std::string_view("hello, world"))), HasSubstr("bad.gguf"));
  EXPECT_THAT(error_of(folder.write("empty.gguf", std::string_view())), HasSubstr("the file has 0 left"));
}

// Neither waits for a writer nor reads for ever.
TEST(ModelFile, RefusesPipesAndDevices) {
  const TemporaryFolder folder;
  const std::filesystem::path pipe = folder.path() / "pipe.gguf";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(error_of(pipe), HasSubstr("is not a regular file"));
  EXPECT_THAT(error_of("/dev/zero"), HasSubstr("is not a regular file"));
}

size_t resident_pages(std::span<const std::byte> pages, size_t page) {
  std::vector<unsigned char> state((pages.size() + page - 1) / page);
  EXPECT_EQ(::mincore(const_cast<std::byte*>(pages.data()), pages.size(), state.data()), 0);
  return static_cast<size_t>(std::count_if(state.begin(), state.end(), [](unsigned char s) { return (s & 1) != 0; }));
}

size_t resident_bytes_of_process() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(MappedFile, ReleaseGivesPagesBackAndKeepsTheContent) {
  constexpr size_t kSize = size_t{16} << 20;
  const TemporaryFolder folder;
  const std::vector<std::byte> content(kSize, std::byte{7});
  const auto file = MappedFile::open(folder.write("data", content));
  ASSERT_TRUE(file.ok());
  const auto touch = [&] { return std::equal(content.begin(), content.end(), file->bytes().begin()); };
  ASSERT_TRUE(touch());
  const size_t before = resident_bytes_of_process();
  file->release(file->bytes().subspan(1, kSize - 2));  // the first and last page are not whole
  EXPECT_LT(resident_bytes_of_process() + kSize / 2, before);
  EXPECT_TRUE(touch());
  EXPECT_GT(resident_pages(file->bytes(), static_cast<size_t>(::sysconf(_SC_PAGESIZE))), 0u);
}

TEST(MappedFile, ReleaseLeavesForeignMemoryAlone) {
  const TemporaryFolder folder;
  const auto file = MappedFile::open(folder.write("data", std::string_view("content")));
  ASSERT_TRUE(file.ok());
  std::vector<std::byte> mine(1 << 16, std::byte{3});
  file->release(mine);
  EXPECT_EQ(std::count(mine.begin(), mine.end(), std::byte{3}), 1 << 16);
  file->release({});
}

TEST(MappedFile, MovesItsMapping) {
  const TemporaryFolder folder;
  auto first = MappedFile::open(folder.write("a", std::string_view("first")));
  auto second = MappedFile::open(folder.write("b", std::string_view("second")));
  ASSERT_TRUE(first.ok() && second.ok());
  MappedFile moved = std::move(*first);
  EXPECT_EQ(moved.text(), "first");
  moved = std::move(*second);
  EXPECT_EQ(moved.text(), "second");
  EXPECT_EQ(MappedFile().text(), "");
}

}  // namespace
}  // namespace loci

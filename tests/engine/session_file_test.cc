#include "engine/session_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "engine/session_format.h"

namespace loci {
namespace {

using Bytes = std::vector<std::byte>;
using session_format::Prelude;
using testing::HasSubstr;

Bytes random_bytes(std::mt19937& random, size_t count) {
  Bytes bytes(count);
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

Bytes read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

class SessionFile : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) / fmt::format("loci_session_{}", test->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    path_ = (folder_ / "session").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  size_t files() const { return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {})); }

  // A small file with a gap, an empty section and every kind of field.
  Bytes small() const {
    auto writer = SessionWriter::begin(path_, {"model-1", "store=kv8", {5, 0, 7}});
    EXPECT_TRUE(writer.ok());
    std::mt19937 random(1);
    EXPECT_TRUE(writer->section("pages", random_bytes(random, 100)).ok());
    EXPECT_TRUE(writer->section("empty", {}).ok());
    EXPECT_TRUE(writer->section("state", random_bytes(random, 64)).ok());
    EXPECT_TRUE(writer->commit().ok());
    return read_file(path_);
  }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(SessionFile, ReadsBackWhatWasWritten) {
  std::mt19937 random(2);
  for (int round = 0; round < 20; ++round) {
    SessionHeader header{"fingerprint", "dense", {}};
    for (size_t i = random() % 1000; i > 0; --i) header.tokens.push_back(static_cast<TokenId>(random() % 100000));
    std::vector<Bytes> contents;
    auto writer = SessionWriter::begin(path_, header);
    ASSERT_TRUE(writer.ok());
    for (size_t i = random() % 6; i > 0; --i) {
      contents.push_back(random_bytes(random, random() % 3 == 0 ? random() % 1000000 : random() % 100));
      const Bytes& bytes = contents.back();
      ASSERT_TRUE(writer
                      ->section(fmt::format("s{}", contents.size()), bytes.size(),
                                [&](SessionWriter::Sink& sink) -> Status {
                                  for (size_t at = 0; at < bytes.size();) {
                                    const size_t n = std::min<size_t>(bytes.size() - at, 1 + random() % 200000);
                                    LOCI_CHECK(sink.write(std::span(bytes).subspan(at, n)));
                                    at += n;
                                  }
                                  return {};
                                })
                      .ok());
    }
    ASSERT_TRUE(writer->commit().ok());
    EXPECT_EQ(files(), 1U);
    const auto reader = SessionReader::open(path_);
    ASSERT_TRUE(reader.ok()) << reader.error().message;
    EXPECT_EQ(reader->header().model, header.model);
    EXPECT_EQ(reader->header().plan, header.plan);
    EXPECT_EQ(reader->header().tokens, header.tokens);
    ASSERT_EQ(reader->sections().size(), contents.size());
    for (size_t i = 0; i < contents.size(); ++i) {
      const auto data = reader->section(fmt::format("s{}", i + 1), contents[i].size());
      ASSERT_TRUE(data.ok());
      EXPECT_EQ(reinterpret_cast<uintptr_t>(data->data()) % session_format::kAlignment, 0U);
      EXPECT_TRUE(std::equal(data->begin(), data->end(), contents[i].begin()));
      reader->release(*data);
      EXPECT_TRUE(std::equal(data->begin(), data->end(), contents[i].begin()));
    }
  }
}

TEST_F(SessionFile, SectionsLargerThanAPieceOfTheChecksum) {
  std::mt19937 random(3);
  Bytes bytes(20 << 20);
  for (size_t i = 0; i < bytes.size(); i += 4096) bytes[i] = static_cast<std::byte>(random());
  auto writer = SessionWriter::begin(path_, {"m", "p", {}});
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->section("big", bytes).ok());
  ASSERT_TRUE(writer->commit().ok());
  const auto reader = SessionReader::open(path_);
  ASSERT_TRUE(reader.ok()) << reader.error().message;
  const auto data = reader->section("big");
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), data->begin(), data->end()));
}

TEST_F(SessionFile, EveryTruncationIsAnError) {
  const Bytes file = small();
  ASSERT_TRUE(SessionReader::parse(file).ok());
  for (size_t size = 0; size < file.size(); ++size) {
    const auto reader = SessionReader::parse(std::span(file).first(size));
    ASSERT_FALSE(reader.ok()) << "cut to " << size << " bytes";
    EXPECT_EQ(reader.error().code, ErrorCode::kCorrupt);
  }
  Bytes longer = file;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(SessionReader::parse(longer).ok());
  std::filesystem::resize_file(path_, file.size() / 2);
  const auto reader = SessionReader::open(path_);
  ASSERT_FALSE(reader.ok());
  EXPECT_THAT(reader.error().message, HasSubstr(path_));
}

TEST_F(SessionFile, EveryFlippedBitIsAnError) {
  Bytes file = small();
  for (size_t at = 0; at < file.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      file[at] ^= static_cast<std::byte>(1 << bit);
      ASSERT_FALSE(SessionReader::parse(file).ok()) << "byte " << at << " bit " << bit;
      file[at] ^= static_cast<std::byte>(1 << bit);
    }
  }
}

// Makes the checksums of a changed file right again, so that the table itself is looked at.
void seal(Bytes& file) {
  Prelude prelude;
  std::memcpy(&prelude, file.data(), sizeof(prelude));
  if (prelude.table_offset > file.size() || prelude.table_bytes > file.size() - prelude.table_offset) return;
  prelude.table_checksum = XXH3_64bits(file.data() + prelude.table_offset, prelude.table_bytes);
  prelude.checksum = XXH3_64bits(&prelude, offsetof(Prelude, checksum));
  std::memcpy(file.data(), &prelude, sizeof(prelude));
}

TEST_F(SessionFile, LiesUnderRightChecksumsStayInTheFile) {
  const Bytes file = small();
  Prelude prelude;
  std::memcpy(&prelude, file.data(), sizeof(prelude));
  std::mt19937 random(4);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    Bytes changed = file;
    const size_t at = prelude.table_offset + random() % (prelude.table_bytes - 8);
    const uint64_t values[] = {0, 1, 0xffffffffU, UINT64_MAX, UINT64_MAX - 63, file.size(), random()};
    std::memcpy(changed.data() + at, &values[random() % 7], 1 + random() % 8);
    seal(changed);
    const auto reader = SessionReader::parse(changed);
    if (!reader.ok()) {
      ++refused;
      continue;
    }
    for (const auto& section : reader->sections()) {
      if (section.data.empty()) continue;
      ASSERT_GE(section.data.data(), changed.data());
      ASSERT_LE(section.data.data() + section.data.size(), changed.data() + changed.size());
    }
  }
  EXPECT_GT(refused, 10000);
}

TEST_F(SessionFile, SaysWhatDiffers) {
  small();
  const auto reader = SessionReader::open(path_);
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(reader->expect("model-1", "store=kv8").ok());
  const Status model = reader->expect("model-2", "store=kv8");
  EXPECT_EQ(model.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(model.error().message, HasSubstr("model-1"));
  EXPECT_THAT(model.error().message, HasSubstr("model-2"));
  EXPECT_THAT(reader->expect("model-1", "dense").error().message, HasSubstr("store=kv8"));
  EXPECT_EQ(reader->section("missing").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(reader->section("state", 63).error().code, ErrorCode::kCorrupt);
}

TEST_F(SessionFile, AnotherVersionIsUnsupported) {
  Bytes file = small();
  file[8] = std::byte{2};
  EXPECT_EQ(SessionReader::parse(file).error().code, ErrorCode::kUnsupported);
}

TEST_F(SessionFile, WithoutACommitNothingChanges) {
  const Bytes before = small();
  {
    auto writer = SessionWriter::begin(path_, {"other", "p", {}});
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->section("s", before).ok());
    EXPECT_EQ(files(), 2U);
  }
  EXPECT_EQ(files(), 1U);
  EXPECT_EQ(read_file(path_), before);
}

TEST_F(SessionFile, AFillThatFailsOrMiscountsIsAnError) {
  const Bytes bytes(10);
  auto writer = SessionWriter::begin(path_, {"m", "p", {}});
  ASSERT_TRUE(writer.ok());
  const auto fill = [&](SessionWriter::Sink& sink) { return sink.write(bytes); };
  EXPECT_FALSE(writer->section("short", 11, fill).ok());
  EXPECT_FALSE(writer->section("long", 9, fill).ok());
  const Status stopped = writer->section("x", 1, [](auto&) -> Status { return fail(ErrorCode::kCancelled, "stop"); });
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(writer->section("twice", bytes).ok());
  EXPECT_FALSE(writer->section("twice", bytes).ok());
}

TEST_F(SessionFile, PlacesThatCannotBeWrittenOrReadAreErrors) {
  const auto writer = SessionWriter::begin((folder_ / "missing" / "s").string(), {});
  ASSERT_FALSE(writer.ok());
  EXPECT_EQ(writer.error().code, ErrorCode::kIo);
  EXPECT_EQ(SessionReader::open(path_).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(SessionReader::open(folder_.string()).error().code, ErrorCode::kCorrupt);
  std::ofstream(path_).close();
  EXPECT_EQ(SessionReader::open(path_).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(SessionWriter::begin(path_, {std::string(70000, 'x'), "p", {}}).error().code, ErrorCode::kLimit);
  // The target is a folder: the rename fails and the temporary file goes.
  std::filesystem::create_directory(folder_ / "target");
  auto onto_folder = SessionWriter::begin((folder_ / "target").string(), {});
  ASSERT_TRUE(onto_folder.ok());
  EXPECT_EQ(onto_folder->commit().error().code, ErrorCode::kIo);
  EXPECT_EQ(files(), 2U);
}

}  // namespace
}  // namespace loci

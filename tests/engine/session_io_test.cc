// A session file that contradicts itself is an error, whatever its checksums say.
#include "engine/session_io.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>

#include "engine/session_file.h"
#include "io/model_file.h"

namespace loci {
namespace {

class LyingSession : public testing::Test {
 protected:
  static constexpr uint32_t kTokens = 100;

  void SetUp() override {
    const auto file = open_model_file(std::string(LOCI_SOURCE_DIR) + "/models/stories260k.gguf");
    ASSERT_TRUE(file.ok());
    EngineOptions options;
    options.context = 256;
    core_ = std::move(*Core::load(**file, options));
    path_ = (std::filesystem::temp_directory_path() /
             (std::string("loci_lying_session_") + testing::UnitTest::GetInstance()->current_test_info()->name()))
                .string();
  }
  void TearDown() override { std::remove(path_.c_str()); }

  // What a file says of itself; as it stands, the truth about kTokens entries in two stripes.
  struct Story {
    std::array<uint32_t, 8> head = {kTokens, kTokens, 0, kTokens, kTokens, 0, 0, 0};
    // heads, length, affine, sinks, window, granule, floor
    std::array<uint32_t, 7> table = {0, kTokens, 1, 0, 0, 1, 0};
    std::vector<uint32_t> heads;
    uint32_t present = 3;
    uint32_t stripes = 2;
    std::byte fill{0};
    std::vector<uint32_t> positions;
    std::vector<std::pair<std::string, size_t>> arrays;  // name, bytes
  };

  Story truth() const {
    Story story;
    story.table[0] = core_->cache_layout().shape(LayerId(0)).kv_heads;
    for (uint32_t h = 0; h < story.table[0]; ++h) story.heads.push_back(h);
    return story;
  }

  Result<Sequence> load(const Story& story) {
    SessionHeader header{core_->fingerprint(), core_->layout().attention.canonical(), std::vector<TokenId>(kTokens, 5)};
    SessionWriter writer = std::move(*SessionWriter::begin(path_, std::move(header)));
    EXPECT_TRUE(writer.section("sequence", std::as_bytes(std::span(story.head))).ok());
    for (uint32_t layer = 0; layer < core_->cache_layout().layers(); ++layer) {
      std::vector<uint32_t> words(story.table.begin(), story.table.end());
      words.insert(words.end(), story.heads.begin(), story.heads.end());
      words.push_back(story.present);
      EXPECT_TRUE(writer.section(fmt::format("layer/{}/tables", layer), std::as_bytes(std::span(words))).ok());
      const PageLayout& page = core_->cache_layout().page(LayerId(layer));
      const std::vector<std::byte> bytes(size_t{story.stripes} * page.bytes * story.heads.size(), story.fill);
      EXPECT_TRUE(writer.section(fmt::format("layer/{}/0/pages", layer), bytes).ok());
      if (story.positions.empty()) continue;
      EXPECT_TRUE(
          writer.section(fmt::format("layer/{}/0/positions", layer), std::as_bytes(std::span(story.positions))).ok());
    }
    for (const auto& [name, size] : story.arrays) EXPECT_TRUE(writer.section(name, std::vector<std::byte>(size)).ok());
    EXPECT_TRUE(writer.commit().ok());
    return load_sequence(*core_, path_);
  }

  void expect_corrupt(const Story& story, const char* what) {
    const Result<Sequence> sequence = load(story);
    ASSERT_FALSE(sequence.ok()) << what;
    EXPECT_EQ(sequence.error().code, ErrorCode::kCorrupt) << what << ": " << sequence.error().message;
  }

  std::unique_ptr<Core> core_;
  std::string path_;
};

TEST_F(LyingSession, TheTruthLoads) {
  const Result<Sequence> sequence = load(truth());
  ASSERT_TRUE(sequence.ok()) << sequence.error().message;
  EXPECT_EQ(sequence->cache.tokens(), kTokens);
}

TEST_F(LyingSession, SparsePositionsLoad) {
  Story story = truth();
  story.table[1] = 3;
  story.table[2] = 0;
  story.present = 1;
  story.stripes = 1;
  story.positions = {1, 50, 99};
  const Result<Sequence> sequence = load(story);
  ASSERT_TRUE(sequence.ok()) << sequence.error().message;
  EXPECT_EQ(sequence->cache.tables(LayerId(0))[0].position(SlotId(1)), TokenPos(50));
  story.positions = {1, 50, 50};
  expect_corrupt(story, "positions twice");
  story.positions = {1, 50, kTokens};
  expect_corrupt(story, "a position behind the end");
  story.positions = {1, 50};
  expect_corrupt(story, "positions missing");
}

TEST_F(LyingSession, MissingPagesAreCorrupt) {
  for (const uint32_t stripes : {0u, 1u, 3u}) {
    Story story = truth();
    story.stripes = stripes;
    expect_corrupt(story, "pages missing");
  }
  Story story = truth();
  story.present = 2;
  story.stripes = 1;
  expect_corrupt(story, "a stripe that the next token reads");
  story.table[4] = 10;  // a window that has passed it
  const Result<Sequence> sequence = load(story);
  EXPECT_TRUE(sequence.ok()) << sequence.error().message;
}

TEST_F(LyingSession, TablesMustFitTheLayer) {
  for (size_t word = 0; word < 3; ++word) {
    Story story = truth();
    story.table[word] = 1000;
    expect_corrupt(story, "a table's counts");
  }
  Story story = truth();
  story.table[5] = 0;
  expect_corrupt(story, "a granule of nothing");
  story = truth();
  story.heads[0] = 77;
  expect_corrupt(story, "a head that the layer lacks");
  story = truth();
  story.heads.pop_back();
  expect_corrupt(story, "a head without a table");
  story = truth();
  story.head[1] = kTokens + 1;
  expect_corrupt(story, "more fed than there are");
}

TEST_F(LyingSession, ArraysOfNoMethodAreCorrupt) {
  Story story = truth();
  story.arrays = {{"state/0/0/list", 64}};
  expect_corrupt(story, "a dense plan keeps no arrays");
  story.arrays = {{"state/x", 0}};
  expect_corrupt(story, "no method's name");
}

TEST_F(LyingSession, NumbersThatAreNotFiniteAreCorrupt) {
  Story story = truth();
  story.fill = std::byte{0x7e};
  expect_corrupt(story, "infinities");
}

}  // namespace
}  // namespace loci

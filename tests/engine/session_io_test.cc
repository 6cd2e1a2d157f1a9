// A session file that contradicts itself is an error, whatever its checksums say.
#include "engine/session_io.h"

#include <gtest/gtest.h>

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

  // A file of `stripes` stripes a layer, every byte of which is `fill`.
  Result<Sequence> load(uint32_t stripes, std::byte fill) {
    SessionHeader header{core_->fingerprint(), core_->layout().attention.canonical(), std::vector<TokenId>(kTokens, 5)};
    SessionWriter writer = std::move(*SessionWriter::begin(path_, std::move(header)));
    const uint32_t state[2] = {kTokens, kTokens};
    EXPECT_TRUE(writer.section("sequence", std::as_bytes(std::span(state))).ok());
    for (uint32_t layer = 0; layer < core_->cache_layout().layers(); ++layer) {
      const PageLayout& page = core_->cache_layout().page(LayerId(layer));
      const uint32_t heads = core_->cache_layout().shape(LayerId(layer)).kv_heads;
      const std::vector<std::byte> bytes(size_t{stripes} * page.bytes * heads, fill);
      EXPECT_TRUE(writer.section(fmt::format("layer/{}/pages", layer), bytes).ok());
    }
    EXPECT_TRUE(writer.commit().ok());
    return load_sequence(*core_, path_);
  }

  std::unique_ptr<Core> core_;
  std::string path_;
};

TEST_F(LyingSession, WholePagesLoad) {
  const Result<Sequence> sequence = load(2, std::byte{0});
  ASSERT_TRUE(sequence.ok()) << sequence.error().message;
  EXPECT_EQ(sequence->cache.tokens(), kTokens);
}

TEST_F(LyingSession, MissingPagesAreCorrupt) {
  for (const uint32_t stripes : {0u, 1u, 3u}) {
    const Result<Sequence> sequence = load(stripes, std::byte{0});
    ASSERT_FALSE(sequence.ok()) << stripes;
    EXPECT_EQ(sequence.error().code, ErrorCode::kCorrupt) << stripes;
  }
}

TEST_F(LyingSession, NumbersThatAreNotFiniteAreCorrupt) {
  const Result<Sequence> sequence = load(2, std::byte{0x7e});
  ASSERT_FALSE(sequence.ok());
  EXPECT_EQ(sequence.error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace loci

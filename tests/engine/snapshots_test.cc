// Prefixes on disk: what is brought back is what was there, and nothing that was damaged is.
#include "engine/snapshots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/batcher.h"
#include "io/model_file.h"

namespace loci {
namespace {

namespace fs = std::filesystem;

class SnapshotsTest : public testing::Test {
 protected:
  SnapshotsTest() : folder_(fs::temp_directory_path() / fmt::format("loci-snapshots-{}", ::getpid())) {
    fs::remove_all(folder_);
  }
  ~SnapshotsTest() override {
    batcher_.reset();
    core_.reset();
    fs::remove_all(folder_);
  }

  // A process that begins: nothing is in memory.
  void start(uint64_t most_bytes = uint64_t{1} << 30, uint64_t kv_bytes = 0, const std::string& attention = "dense") {
    file_ = std::move(*open_model_file(LOCI_SOURCE_DIR "/models/stories260k.gguf"));
    tokenizer_ = std::move(*Tokenizer::load(*file_));
    batcher_.reset();
    EngineOptions options{.threads = 2, .context = 512, .batch = 4, .chunk = 64, .kv_bytes = kv_bytes};
    options.attention = attention;
    core_ = std::move(*Core::load(*file_, options));
    const Status kept = core_->keep_snapshots({.folder = folder_.string(), .most_bytes = most_bytes});
    ASSERT_TRUE(kept.ok()) << kept.error().message;
    batcher_ = std::make_unique<Batcher>(*core_, *tokenizer_);
  }
  Completion ask(uint32_t seed, size_t prompt = 300, const std::string& salt = "") {
    Request one;
    for (size_t i = 0; i < prompt; ++i) one.prompt.push_back(static_cast<TokenId>(10 + (i * 7 + seed * 31) % 300));
    one.max_new_tokens = 12;
    one.ignore_eos = true;
    one.salt = salt;
    BatchRequest batch;
    batch.choices.push_back(std::move(one));
    Result<Completion> out(Error{ErrorCode::kInternal, "not done"});
    batch.on_done = [&](uint32_t, Result<Completion> done) { out = std::move(done); };
    batcher_->submit(std::move(batch));
    while (!batcher_->idle()) batcher_->step();
    EXPECT_TRUE(out.ok()) << (out.ok() ? "" : out.error().message);
    return out.ok() ? *out : Completion();
  }
  void write_all() {
    while (core_->tend_snapshots()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(folder_)) out.push_back(entry.path());
    std::sort(out.begin(), out.end());
    return out;
  }
  static void damage(const fs::path& path, std::streamoff at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char was = static_cast<char>(file.get());
    file.seekp(at);
    file.put(static_cast<char>(was ^ 0x40));
  }

  fs::path folder_;
  std::unique_ptr<ModelFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<Batcher> batcher_;
};

TEST_F(SnapshotsTest, APromptComesBackAndSaysTheSame) {
  for (const char* plan :
       {"dense", "store=kv4", "retain=snapkv(budget=64,window=8)", "retain=streaming(sinks=4,window=60)"}) {
    start(1 << 30, 0, plan);
    const Completion first = ask(1);
    write_all();
    start(1 << 30, 0, plan);
    const Completion again = ask(1);
    EXPECT_EQ(again.tokens, first.tokens) << plan;
    EXPECT_EQ(again.cached_tokens, core_->plan()->layout.chunking.most_shared(300) / 64 * 64) << plan;
    EXPECT_GE(again.cached_tokens, 192u) << plan;
    EXPECT_EQ(core_->snapshots()->stats().blocks_read, again.cached_tokens / 64) << plan;
    fs::remove_all(folder_);
  }
}

TEST_F(SnapshotsTest, WhatGoesOnFromAnotherIsWrittenBehindIt) {
  start();
  ask(1, 200);
  write_all();
  const size_t before = files().size();
  const Completion longer = ask(1, 400);
  write_all();
  EXPECT_GT(files().size(), before);
  start();
  const Completion again = ask(1, 400);
  EXPECT_EQ(again.tokens, longer.tokens);
  EXPECT_EQ(again.cached_tokens, 384u);
}

TEST_F(SnapshotsTest, AnotherSaltOrPlanFindsNothing) {
  start();
  ask(1, 300, "alice");
  write_all();
  start();
  EXPECT_EQ(ask(1, 300, "bob").cached_tokens, 0u);
  EXPECT_EQ(ask(1, 300, "").cached_tokens, 0u);
  EXPECT_GT(ask(1, 300, "alice").cached_tokens, 0u);
  start(1 << 30, 0, "store=kv8");
  EXPECT_EQ(ask(1, 300, "alice").cached_tokens, 0u);
}

TEST_F(SnapshotsTest, DamagedFilesAreSkippedAndWrittenAnew) {
  start();
  const Completion first = ask(1);
  write_all();
  ASSERT_EQ(files().size(), 1u);
  const auto bytes = static_cast<std::streamoff>(fs::file_size(files()[0]));
  for (const std::streamoff at : {std::streamoff{20}, std::streamoff{1000}, bytes / 2, bytes - 20}) {
    damage(files()[0], at);
    start();
    const Completion again = ask(1);
    EXPECT_EQ(again.tokens, first.tokens) << at;
    EXPECT_EQ(again.cached_tokens, 0u) << at;
    EXPECT_EQ(core_->snapshots()->stats().damaged, 1u) << at;
    write_all();
    ASSERT_EQ(files().size(), 1u) << at;
  }
  fs::resize_file(files()[0], static_cast<uintmax_t>(bytes) / 3);
  start();
  EXPECT_EQ(ask(1).tokens, first.tokens);
}

// A run that is killed while it writes leaves a temporary file, which the next removes.
TEST_F(SnapshotsTest, TemporaryFilesOfKilledRunsGo) {
  start();
  ask(1);
  write_all();
  const fs::path half = files()[0].string() + ".AbCdEf";
  fs::copy(files()[0], half);
  fs::resize_file(half, 1000);
  start();
  EXPECT_EQ(files().size(), 1u);
  EXPECT_GT(ask(1).cached_tokens, 0u);
}

TEST_F(SnapshotsTest, TheFolderKeepsItsBoundAndWhatWasUsedLast) {
  start();
  ask(1);
  write_all();
  const uint64_t one = core_->snapshots()->stats().bytes;
  start(3 * one + one / 2);
  ask(1);
  for (uint32_t seed = 2; seed < 8; ++seed) {
    ask(seed);
    ask(1);
    write_all();
    EXPECT_LE(core_->snapshots()->stats().bytes, 3 * one + one / 2);
  }
  EXPECT_EQ(files().size(), 3u);
  start(3 * one + one / 2);
  EXPECT_GT(ask(1).cached_tokens, 0u);
  EXPECT_GT(ask(7).cached_tokens, 0u);
  EXPECT_EQ(ask(2).cached_tokens, 0u);
}

// What is brought back takes room of the prefix cache only, and stops where there is none.
TEST_F(SnapshotsTest, ASmallCacheTakesWhatItCan) {
  start();
  const Completion first = ask(1, 450);
  write_all();
  const uint64_t least = sequence_bytes(core_->layout(), 462, 462);
  for (const uint64_t kv : {least + least / 8, least + least / 2, 2 * least}) {
    start(1 << 30, kv);
    EXPECT_EQ(ask(1, 450).tokens, first.tokens);
    EXPECT_EQ(ask(2, 450).prompt_tokens, 450u);
    EXPECT_EQ(ask(1, 450).tokens, first.tokens);
  }
}

TEST_F(SnapshotsTest, AFolderThatCannotBeUsedIsAnError) {
  const Result<std::unique_ptr<Snapshots>> none = Snapshots::open({.folder = "/proc/nothing", .most_bytes = 1}, "m");
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace loci

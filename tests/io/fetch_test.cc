// Downloads from servers that cut connections, lie about sizes, change files and go round in circles.
#include "io/fetch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>

#include <fstream>
#include <random>
#include <sstream>

#include "io/fetch_part.h"
#include "lying_http_server.h"
#include "temporary_folder.h"

namespace loci {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

std::string bytes_of(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::string out(count, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

std::string read_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

void write_bytes(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::string whole(const std::string& body, const std::string& more = "") {
  return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more +
         "\r\n" + body;
}

std::string rest(const std::string& body, size_t offset, const std::string& more = "") {
  return "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Length: " +
         std::to_string(body.size() - offset) + "\r\nContent-Range: bytes " + std::to_string(offset) + "-" +
         std::to_string(body.size() - 1) + "/" + std::to_string(body.size()) + "\r\n" + more + "\r\n" +
         body.substr(offset);
}

std::string status_only(const std::string& status, const std::string& more = "") {
  return "HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: 4\r\n" + more + "\r\noops";
}

const std::string kTag = "ETag: \"v1\"\r\n";

class Fetch : public ::testing::Test {
 protected:
  Fetch() {
    options_.backoff = milliseconds(1);
    options_.stall_timeout = std::chrono::seconds(5);
  }
  Result<FetchReport> get(const LyingHttpServer& server, const std::string& path = "/file") {
    return fetch(server.url(path), destination_, options_);
  }
  bool exists(const std::string& suffix) const { return fs::exists(fs::path(destination_.string() + suffix)); }
  void expect_clean(const std::string& content) {
    EXPECT_TRUE(read_bytes(destination_) == content);
    EXPECT_FALSE(exists(".part"));
    EXPECT_FALSE(exists(".part.json"));
  }

  TemporaryFolder folder_;
  fs::path destination_ = folder_.path() / "model.gguf";
  FetchOptions options_;
  const std::string body_ = bytes_of(300000, 1);
};

TEST_F(Fetch, WholeFileWithProgressAndDigest) {
  LyingHttpServer server([&](const HttpRequest&, int, const auto& reply) { reply.send(whole(body_)); });
  uint64_t last_done = 0, last_total = 0;
  options_.on_progress = [&](uint64_t done, uint64_t total) { last_done = done, last_total = total; };
  options_.sha256 = sha256_of(body_);
  const auto report = get(server);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->bytes, body_.size());
  EXPECT_EQ(report->attempts, 1);
  EXPECT_EQ(report->sha256, options_.sha256);
  EXPECT_EQ(last_done, body_.size());
  EXPECT_EQ(last_total, body_.size());
  expect_clean(body_);
}

TEST_F(Fetch, KnownDigest) {
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(Fetch, EmptyFileAndFileWithoutLength) {
  LyingHttpServer server([&](const HttpRequest& request, int, const auto& reply) {
    reply.send(request.path == "/empty" ? whole("") : "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body_);
  });
  ASSERT_TRUE(get(server, "/empty").ok());
  expect_clean("");
  ASSERT_TRUE(get(server, "/unsized").ok());
  expect_clean(body_);
}

// Every connection dies after a random number of bytes; each next one goes on from there.
TEST_F(Fetch, CutConnectionsResume) {
  std::mt19937 random(7);
  LyingHttpServer server([&](const HttpRequest& request, int, const auto& reply) {
    const size_t offset = request.offset();
    const std::string full = offset == 0 ? whole(body_, kTag) : rest(body_, offset, kTag);
    reply.send(full.substr(0, 400 + random() % 60000));
  });
  options_.sha256 = sha256_of(body_);
  const auto report = get(server);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_GT(report->attempts, 4);
  expect_clean(body_);
  const auto requests = server.requests();
  for (size_t i = 1; i < requests.size(); ++i) {
    EXPECT_GT(requests[i].offset(), requests[i - 1].offset());
    EXPECT_EQ(requests[i].header("if-range"), "\"v1\"");
  }
}

TEST_F(Fetch, LastModifiedServesWhereTheTagIsWeak) {
  const std::string dates = "ETag: W/\"v1\"\r\nLast-Modified: Tue, 04 Jun 2024 10:00:00 GMT\r\n";
  LyingHttpServer server([&](const HttpRequest& request, int number, const auto& reply) {
    if (number == 0) return (void)reply.send(whole(body_, dates).substr(0, 5000));
    reply.send(rest(body_, request.offset(), dates));
  });
  ASSERT_TRUE(get(server).ok());
  expect_clean(body_);
  EXPECT_EQ(server.requests()[1].header("if-range"), "Tue, 04 Jun 2024 10:00:00 GMT");
}

// Nothing ties the bytes so far to what the server has now, so they are not continued.
TEST_F(Fetch, WithoutValidatorOrDigestStartsOver) {
  LyingHttpServer server([&](const HttpRequest&, int number, const auto& reply) {
    reply.send(number == 0 ? whole(body_).substr(0, 5000) : whole(body_));
  });
  ASSERT_TRUE(get(server).ok());
  expect_clean(body_);
  EXPECT_EQ(server.requests()[1].header("range"), "");
}

TEST_F(Fetch, WithoutValidatorADigestAllowsResuming) {
  LyingHttpServer server([&](const HttpRequest& request, int number, const auto& reply) {
    reply.send(number == 0 ? whole(body_).substr(0, 5000) : rest(body_, request.offset()));
  });
  options_.sha256 = sha256_of(body_);
  ASSERT_TRUE(get(server).ok());
  expect_clean(body_);
  EXPECT_GT(server.requests()[1].offset(), 0u);
}

TEST_F(Fetch, ServerThatIgnoresRangeRestarts) {
  LyingHttpServer server([&](const HttpRequest&, int number, const auto& reply) {
    reply.send(whole(body_, kTag).substr(0, number < 2 ? 50000 : body_.size() * 2));
  });
  const auto report = get(server);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->attempts, 3);
  expect_clean(body_);
}

TEST_F(Fetch, ChangedFileIsNeverMixedIn) {
  const std::string other = bytes_of(200000, 2);
  for (const bool honours_if_range : {true, false}) {
    LyingHttpServer server([&](const HttpRequest& request, int number, const auto& reply) {
      const std::string tag = "ETag: \"v2\"\r\n";
      if (number == 0) return (void)reply.send(whole(body_, kTag).substr(0, 50000));
      reply.send(honours_if_range || request.offset() == 0 ? whole(other, tag) : rest(other, request.offset(), tag));
    });
    const auto report = get(server);
    ASSERT_TRUE(report.ok()) << report.error().message;
    expect_clean(other);
  }
}

// Same size, no tag, another content after the cut: only the digest can tell, and one fresh transfer mends it.
TEST_F(Fetch, ChangedFileWithoutTagIsCaughtByTheDigest) {
  const std::string other = bytes_of(body_.size(), 3);
  LyingHttpServer server([&](const HttpRequest& request, int number, const auto& reply) {
    if (number == 0) return (void)reply.send(whole(body_).substr(0, 50000));
    reply.send(request.offset() == 0 ? whole(other) : rest(other, request.offset()));
  });
  options_.sha256 = sha256_of(other);
  ASSERT_TRUE(get(server).ok());
  expect_clean(other);
}

TEST_F(Fetch, WrongRangeIsNotWritten) {
  LyingHttpServer server([&](const HttpRequest& request, int number, const auto& reply) {
    if (number == 0) return (void)reply.send(whole(body_, kTag).substr(0, 50000));
    reply.send(request.offset() > 0 ? rest(body_, 0, kTag) : whole(body_, kTag));  // 206, but from the start
  });
  ASSERT_TRUE(get(server).ok());
  expect_clean(body_);
}

TEST_F(Fetch, LengthTooLongGivesUpSoon) {
  LyingHttpServer server([&](const HttpRequest& request, int, const auto& reply) {
    const std::string claim = "Content-Length: " + std::to_string(body_.size() + 1000) + "\r\n";
    if (request.offset() > 0) return (void)reply.send(status_only("416 Range Not Satisfiable"));
    reply.send("HTTP/1.1 200 OK\r\nConnection: close\r\n" + claim + kTag + "\r\n" + body_);
  });
  const auto report = get(server);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kIo);
  EXPECT_NE(report.error().message.find("gave up"), std::string::npos) << report.error().message;
  EXPECT_FALSE(exists(""));
  EXPECT_LE(server.requests().size(), 8u);
}

TEST_F(Fetch, LengthTooShortIsCaughtByTheDigest) {
  LyingHttpServer server([&](const HttpRequest&, int, const auto& reply) {
    reply.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n" + body_);
  });
  options_.sha256 = sha256_of(body_);
  const auto report = get(server);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kCorrupt) << report.error().message;
  EXPECT_FALSE(exists(""));
  EXPECT_FALSE(exists(".part"));
}

TEST_F(Fetch, HugeLengthIsRefusedBeforeAnyByte) {
  LyingHttpServer server([&](const HttpRequest& request, int, const auto& reply) {
    const std::string length =
        request.path == "/huge" ? "9000000000000000000" : "900000000000";  // beyond the limit; beyond the disk
    reply.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + length + "\r\n\r\n" + body_);
  });
  const auto huge = get(server, "/huge");
  ASSERT_FALSE(huge.ok());
  EXPECT_EQ(huge.error().code, ErrorCode::kLimit) << huge.error().message;
  const auto space = fs::space(folder_.path());
  if (space.available < 900000000000u) {
    const auto large = get(server, "/large");
    ASSERT_FALSE(large.ok());
    EXPECT_EQ(large.error().code, ErrorCode::kLimit) << large.error().message;
  }
  EXPECT_EQ(fs::file_size(destination_.string() + ".part"), 0u);
}

TEST_F(Fetch, UnsizedBodyMeetsTheLimit) {
  LyingHttpServer server([&](const HttpRequest&, int, const auto& reply) {
    reply.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    while (reply.send(body_)) {
    }
  });
  options_.max_bytes = 1000000;
  const auto report = get(server);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kLimit) << report.error().message;
  EXPECT_LE(fs::file_size(destination_.string() + ".part"), options_.max_bytes);
}

TEST_F(Fetch, HttpErrorsAreClear) {
  LyingHttpServer server(
      [&](const HttpRequest& request, int, const auto& reply) { reply.send(status_only(request.path.substr(1))); });
  const std::pair<const char*, ErrorCode> cases[] = {{"/404", ErrorCode::kNotFound}, {"/410", ErrorCode::kNotFound},
                                                     {"/403", ErrorCode::kIo},       {"/401", ErrorCode::kIo},
                                                     {"/500", ErrorCode::kIo},       {"/418", ErrorCode::kIo}};
  for (const auto& [path, code] : cases) {
    const auto report = get(server, path);
    ASSERT_FALSE(report.ok());
    EXPECT_EQ(report.error().code, code) << report.error().message;
    EXPECT_NE(report.error().message.find(path + 1), std::string::npos) << report.error().message;
    EXPECT_FALSE(exists(""));
  }
}

TEST_F(Fetch, ServerErrorsAreTriedAgain) {
  LyingHttpServer server([&](const HttpRequest&, int number, const auto& reply) {
    reply.send(number < 3 ? status_only("503 Busy") : whole(body_));
  });
  const auto report = get(server);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->attempts, 4);
  expect_clean(body_);
}

TEST_F(Fetch, RedirectsAreFollowedButNotForever) {
  LyingHttpServer server([&](const HttpRequest& request, int, const auto& reply) {
    if (request.path == "/file")
      return (void)reply.send(status_only("302 Found", "Location: /there\r\nETag: \"wrong\"\r\n"));
    if (request.path == "/loop") return (void)reply.send(status_only("302 Found", "Location: /loop\r\n"));
    if (request.path == "/away") return (void)reply.send(status_only("302 Found", "Location: file:///etc/passwd\r\n"));
    reply.send(whole(body_));
  });
  ASSERT_TRUE(get(server).ok());
  expect_clean(body_);
  fs::remove(destination_);
  for (const char* path : {"/loop", "/away"}) {
    const auto report = get(server, path);
    ASSERT_FALSE(report.ok()) << path;
    EXPECT_EQ(report.error().code, ErrorCode::kIo) << report.error().message;
    EXPECT_FALSE(exists(""));
  }
  EXPECT_LE(server.requests().size(), 2u + 9u + 1u);
}

TEST_F(Fetch, StalledConnectionCountsAsCut) {
  options_.stall_timeout = std::chrono::seconds(1);
  LyingHttpServer server([&](const HttpRequest& request, int number, const auto& reply) {
    if (number > 0) return (void)reply.send(rest(body_, request.offset(), kTag));
    reply.send(whole(body_, kTag).substr(0, 50000));
    std::this_thread::sleep_for(milliseconds(2500));
  });
  const auto report = get(server);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->attempts, 2);
  expect_clean(body_);
}

TEST_F(Fetch, CancelLeavesAPartThatTheNextFetchResumes) {
  std::atomic<bool> cancelled{false};
  std::atomic<bool> drip{true};
  LyingHttpServer server([&](const HttpRequest& request, int, const auto& reply) {
    const std::string full = request.offset() == 0 ? whole(body_, kTag) : rest(body_, request.offset(), kTag);
    if (!drip) return (void)reply.send(full);
    for (size_t at = 0; at < full.size() && reply.send(full.substr(at, 500)); at += 500) {
      std::this_thread::sleep_for(milliseconds(2));
    }
  });
  options_.cancelled = &cancelled;
  options_.on_progress = [&](uint64_t done, uint64_t) { cancelled = cancelled || done > 20000; };
  const auto stopped = get(server);
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled) << stopped.error().message;
  EXPECT_FALSE(exists(""));
  const uint64_t kept = fs::file_size(destination_.string() + ".part");
  EXPECT_GT(kept, 20000u);
  cancelled = drip = false;
  options_.on_progress = nullptr;
  const auto report = get(server);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->resumed_from, kept);
  EXPECT_EQ(server.requests().back().offset(), kept);
  expect_clean(body_);
}

TEST_F(Fetch, CancelWhileWaitingToRetry) {
  std::atomic<bool> cancelled{false};
  LyingHttpServer server([&](const HttpRequest&, int, const auto& reply) {
    reply.send(status_only("503 Busy"));
    cancelled = true;
  });
  options_.cancelled = &cancelled;
  options_.backoff = std::chrono::seconds(60);
  EXPECT_EQ(get(server).error().code, ErrorCode::kCancelled);
}

TEST_F(Fetch, DamagedRecordsAndPartsStartOver) {
  LyingHttpServer server([&](const HttpRequest&, int, const auto& reply) { reply.send(whole(body_, kTag)); });
  const std::string url = server.url("/file");
  const std::string ours = fmt::format("{{\"url\": \"{}\", ", url);
  const std::string records[] = {
      "",
      "{",
      "[]",
      std::string(100000, '{'),
      "{\"url\": \"http://elsewhere/\", \"etag\": \"v1\", \"total\": 10}",
      ours + "\"etag\": 5, \"total\": -1}",
      ours + "\"etag\": \"v1\", \"total\": 10}",
  };
  for (const std::string& record : records) {
    write_bytes(destination_.string() + ".part", "rubbish from another time");
    write_bytes(destination_.string() + ".part.json", record);
    const auto report = get(server);
    ASSERT_TRUE(report.ok()) << report.error().message;
    expect_clean(body_);
  }
}

TEST_F(Fetch, FailedFetchKeepsTheOldFile) {
  write_bytes(destination_, "old");
  LyingHttpServer server([&](const HttpRequest&, int, const auto& reply) { reply.send(whole(body_)); });
  options_.sha256 = sha256_of("something else");
  EXPECT_EQ(get(server).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(read_bytes(destination_), "old");
}

TEST_F(Fetch, TwoFetchesOfOneFileShareTheWork) {
  LyingHttpServer server([&](const HttpRequest&, int, const auto& reply) {
    const std::string full = whole(body_, kTag);
    reply.send(full.substr(0, 100000));
    std::this_thread::sleep_for(milliseconds(300));
    reply.send(full.substr(100000));
  });
  Result<FetchReport> first = fail(ErrorCode::kInternal, ""), second = first;
  std::thread one([&] { first = get(server); });
  std::thread two([&] { second = get(server); });
  one.join();
  two.join();
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->attempts + second->attempts, 1);
  expect_clean(body_);
}

TEST_F(Fetch, WaitingForAnotherFetchCanBeCancelled) {
  const int fd = ::open((destination_.string() + ".part").c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);
  std::atomic<bool> cancelled{true};
  options_.cancelled = &cancelled;
  EXPECT_EQ(fetch("http://127.0.0.1:9/x", destination_, options_).error().code, ErrorCode::kCancelled);
  ::close(fd);
}

// A file-size limit of the process stands in for a full disk: both refuse the write.
TEST_F(Fetch, FullDiskIsAnError) {
  LyingHttpServer server([&](const HttpRequest&, int, const auto& reply) { reply.send(whole(body_, kTag)); });
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{100000, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto report = get(server);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  ::signal(SIGXFSZ, handler);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kIo) << report.error().message;
  EXPECT_FALSE(exists(""));
}

TEST_F(Fetch, RefusesWhatIsNoRequest) {
  for (const char* url : {"file:///etc/passwd", "ftp://127.0.0.1/x", "model.gguf", "", "://", "httpx://a/b"}) {
    EXPECT_EQ(fetch(url, destination_, options_).error().code, ErrorCode::kInvalidArgument) << url;
  }
  options_.sha256 = "abc";
  EXPECT_EQ(fetch("http://127.0.0.1/x", destination_, options_).error().code, ErrorCode::kInvalidArgument);
  options_.sha256 = "";
  EXPECT_EQ(fetch("http://127.0.0.1/x", folder_.path() / "no" / "such" / "x", options_).error().code, ErrorCode::kIo);
}

TEST_F(Fetch, NobodyListening) {
  std::string url;
  {
    LyingHttpServer server([](const HttpRequest&, int, const auto&) {});
    url = server.url("/file");
  }
  const auto report = fetch(url, destination_, options_);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kIo);
  EXPECT_NE(report.error().message.find("gave up"), std::string::npos) << report.error().message;
}

TEST_F(Fetch, CompressedAnswerIsRefused) {
  LyingHttpServer server(
      [&](const HttpRequest&, int, const auto& reply) { reply.send(whole(body_, "Content-Encoding: gzip\r\n")); });
  EXPECT_EQ(get(server).error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace loci

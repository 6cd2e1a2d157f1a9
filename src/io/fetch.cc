#include "io/fetch.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <thread>

#include "io/fetch_part.h"

namespace loci {
namespace {

// Which version of the remote file the bytes of a part are from.
struct Version {
  std::string url;
  std::string etag;
  std::string last_modified;
  std::optional<uint64_t> total;

  // What If-Range may carry: a strong ETag, or else the date; empty if the server gave neither.
  std::string validator() const {
    if (!etag.empty() && etag.rfind("W/", 0) != 0) return etag;
    return last_modified;
  }
};

struct Job {
  const FetchOptions& options;
  PartFile& part;
  std::filesystem::path record_path;
  Version version;
};

// One request: what we asked for, what the response said, how it went.
struct Attempt {
  Job& job;
  uint64_t offset = 0;
  long status = 0;
  std::string etag{}, last_modified{}, content_range{}, content_encoding{};
  std::optional<uint64_t> content_length{};
  bool body_begun = false;
  bool to_file = false;
  bool start_over = false;       // the bytes so far are of no use for what the server has now
  std::optional<Error> fatal{};  // raised inside a callback
};

enum class Verdict { kDone, kAgain };

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

// ---- The record beside the part ------------------------------------------------------------------------------------

Version read_record(const std::filesystem::path& path, const std::string& url) {
  constexpr size_t kMaxRecordBytes = 64 << 10;
  Version none{url, "", "", std::nullopt};
  std::ifstream in(path, std::ios::binary);
  std::string text(kMaxRecordBytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return none;
  const auto field = [&](const char* key) {
    const auto it = json.find(key);
    return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  if (field("url") != url) return none;
  Version version{url, field("etag"), field("last_modified"), std::nullopt};
  const auto total = json.find("total");
  if (total != json.end() && total->is_number_unsigned()) version.total = total->get<uint64_t>();
  return version;
}

Status write_record(const Job& job) {
  nlohmann::json json = {
      {"url", job.version.url}, {"etag", job.version.etag}, {"last_modified", job.version.last_modified}};
  if (job.version.total) json["total"] = *job.version.total;
  std::ofstream out(job.record_path, std::ios::binary | std::ios::trunc);
  out << json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  out.flush();
  if (!out) return fail(ErrorCode::kIo, "cannot write '{}'", job.record_path.string());
  return {};
}

// ---- What a response's headers mean --------------------------------------------------------------------------------

struct ContentRange {
  uint64_t first = 0;
  std::optional<uint64_t> total;
};

// "bytes 100-199/200" or "bytes 100-199/*".
std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (text.rfind("bytes ", 0) != 0) return std::nullopt;
  text.remove_prefix(6);
  const size_t dash = text.find('-'), slash = text.find('/');
  if (dash == text.npos || slash == text.npos || slash < dash) return std::nullopt;
  const auto first = parse_number(text.substr(0, dash));
  const auto total = parse_number(text.substr(slash + 1));
  if (!first || (!total && text.substr(slash + 1) != "*")) return std::nullopt;
  return ContentRange{*first, total};
}

Status check_room(const Job& job) {
  if (!job.version.total) return {};
  const uint64_t total = *job.version.total;
  if (total > job.options.max_bytes) {
    return fail(ErrorCode::kLimit, "'{}' holds {} bytes, above the limit of {} bytes", job.version.url, total,
                job.options.max_bytes);
  }
  std::error_code error;
  const auto space = std::filesystem::space(job.part.path(), error);
  const uint64_t missing = total - std::min(total, job.part.size());
  if (!error && space.available < missing) {
    return fail(ErrorCode::kLimit, "'{}' needs {} more bytes, but the disk of '{}' has {} free", job.version.url,
                missing, job.part.path().string(), space.available);
  }
  return {};
}

// A 200: the whole file follows, whatever we asked for.
Status begin_whole(Attempt& a) {
  Job& job = a.job;
  LOCI_CHECK(job.part.truncate(0));
  job.version = Version{job.version.url, a.etag, a.last_modified, a.content_length};
  LOCI_CHECK(check_room(job));
  LOCI_CHECK(write_record(job));
  a.to_file = true;
  return {};
}

// A 206: the rest follows, if it is the rest of what we have.
Status begin_rest(Attempt& a) {
  Job& job = a.job;
  const auto range = parse_content_range(a.content_range);
  const bool same_place = range && range->first == a.offset;
  const bool same_size = range && (!range->total || !job.version.total || *range->total == *job.version.total);
  const bool same_tag = a.etag.empty() || job.version.etag.empty() || a.etag == job.version.etag;
  if (!same_place || !same_size || !same_tag) {
    a.start_over = true;
    return {};
  }
  if (!job.version.total) job.version.total = range->total;
  LOCI_CHECK(check_room(job));
  a.to_file = true;
  return {};
}

void begin_body(Attempt& a) {
  a.body_begun = true;
  if (a.status != 200 && a.status != 206) return;
  if (!a.content_encoding.empty() && a.content_encoding != "identity") {
    a.fatal = fail(ErrorCode::kUnsupported, "'{}' is sent with content encoding '{}', which was not asked for",
                   a.job.version.url, a.content_encoding);
    return;
  }
  const Status status = a.status == 200 ? begin_whole(a) : begin_rest(a);
  if (!status.ok()) a.fatal = status.error();
}

// ---- libcurl's callbacks -------------------------------------------------------------------------------------------

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

size_t on_header(char* data, size_t, size_t bytes, void* user) {
  Attempt& a = *static_cast<Attempt*>(user);
  const std::string_view line = trimmed({data, bytes});
  if (line.rfind("HTTP/", 0) == 0) {  // a new response: the one before was a redirect
    a.etag = a.last_modified = a.content_range = a.content_encoding = "";
    a.content_length.reset();
    const size_t space = line.find(' ');
    const auto code = space == line.npos ? std::nullopt : parse_number(line.substr(space + 1, 3));
    a.status = code ? static_cast<long>(*code) : 0;
    return bytes;
  }
  const size_t colon = line.find(':');
  if (colon == line.npos) return bytes;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (name == "etag") a.etag = value;
  if (name == "last-modified") a.last_modified = value;
  if (name == "content-range") a.content_range = value;
  if (name == "content-encoding") a.content_encoding = value;
  if (name == "content-length") a.content_length = parse_number(value);
  return bytes;
}

size_t on_body(char* data, size_t, size_t bytes, void* user) {
  Attempt& a = *static_cast<Attempt*>(user);
  constexpr size_t kStop = CURL_WRITEFUNC_ERROR;
  if (!a.body_begun) begin_body(a);
  if (a.fatal || a.start_over) return kStop;
  if (!a.to_file) return bytes;  // the text of an error page
  Job& job = a.job;
  const uint64_t limit = std::min(job.options.max_bytes, job.version.total.value_or(UINT64_MAX));
  if (bytes > limit - std::min(limit, job.part.size())) {
    a.fatal = fail(ErrorCode::kLimit, "'{}' sends more than the {} bytes it may hold", job.version.url, limit);
    return kStop;
  }
  const Status status = job.part.append(data, bytes);
  if (status.ok()) return bytes;
  a.fatal = status.error();
  return kStop;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const Job& job = static_cast<Attempt*>(user)->job;
  if (job.options.on_progress) job.options.on_progress(job.part.size(), job.version.total.value_or(0));
  return is_set(job.options.cancelled) ? 1 : 0;
}

// ---- One request ---------------------------------------------------------------------------------------------------

struct FreeCurl {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

void set_limits(CURL* curl, const FetchOptions& options) {
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, static_cast<long>(options.max_redirects));
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(options.stall_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "loci");
}

void set_callbacks(CURL* curl, Attempt& a) {
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &a);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &a);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &a);
}

CURLcode perform(Attempt& a, std::string& detail) {
  const std::unique_ptr<CURL, FreeCurl> curl(curl_easy_init());
  if (!curl) return CURLE_FAILED_INIT;
  char message[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, message);
  curl_easy_setopt(curl.get(), CURLOPT_URL, a.job.version.url.c_str());
  set_limits(curl.get(), a.job.options);
  set_callbacks(curl.get(), a);
  std::unique_ptr<curl_slist, FreeList> headers;
  const std::string range = fmt::format("{}-", a.offset);
  if (a.offset > 0) {
    curl_easy_setopt(curl.get(), CURLOPT_RANGE, range.c_str());
    if (const std::string validator = a.job.version.validator(); !validator.empty()) {
      headers.reset(curl_slist_append(nullptr, ("If-Range: " + validator).c_str()));
      curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
    }
  }
  const CURLcode code = curl_easy_perform(curl.get());
  detail = message[0] ? message : curl_easy_strerror(code);
  return code;
}

bool worth_repeating(CURLcode code) {
  switch (code) {
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return true;
    default:
      return false;
  }
}

Error cancelled_error(const Job& job) {
  return fail(ErrorCode::kCancelled, "cancelled after {} bytes; the next fetch of '{}' goes on from there",
              job.part.size(), job.version.url);
}

Result<Verdict> judge_status(Attempt& a, std::string& why) {
  Job& job = a.job;
  why = fmt::format("the server answers with HTTP status {}", a.status);
  switch (a.status) {
    case 200:
    case 206:
      why = fmt::format("the server ended the transfer after {} of {} bytes", job.part.size(),
                        job.version.total.value_or(0));
      return !job.version.total || job.part.size() == *job.version.total ? Verdict::kDone : Verdict::kAgain;
    case 416:  // what we have is as long as the file, or longer: of another version, or of a file whose size was a lie
      a.start_over = true;
      return Verdict::kAgain;
    case 404:
    case 410:
      return fail(ErrorCode::kNotFound, "'{}' does not exist on the server (HTTP status {})", job.version.url,
                  a.status);
    case 401:
    case 403:
      return fail(ErrorCode::kIo, "the server refuses access to '{}' (HTTP status {}); it may need an account",
                  job.version.url, a.status);
    default:
      if (a.status == 408 || a.status == 429 || a.status >= 500) return Verdict::kAgain;
      return fail(ErrorCode::kIo, "'{}': {}", job.version.url, why);
  }
}

// Sends one request and says whether the file is whole. `why` tells what stopped it if not.
Result<Verdict> attempt(Job& job, std::string& why) {
  Attempt a{job, job.part.size()};
  const CURLcode code = perform(a, why);
  if (!a.fatal && !a.start_over && code == CURLE_OK && !a.body_begun) begin_body(a);  // a response without a body
  if (a.fatal) return *a.fatal;
  if (is_set(job.options.cancelled)) return cancelled_error(job);
  Result<Verdict> verdict = Verdict::kAgain;
  if (a.start_over) {
    why = "the server no longer has the version that the fetch began with";
  } else if (code == CURLE_OK) {
    verdict = judge_status(a, why);
  } else if (!worth_repeating(code)) {
    return fail(ErrorCode::kIo, "cannot fetch '{}': {}", job.version.url, why);
  }
  if (a.start_over) LOCI_CHECK(job.part.truncate(0));
  return verdict;
}

// ---- Many requests -------------------------------------------------------------------------------------------------

Status wait_before_retry(const Job& job, int idle_attempts) {
  const auto pause = job.options.backoff * (1 << std::clamp(idle_attempts - 1, 0, 4));
  const auto until = std::chrono::steady_clock::now() + pause;
  while (std::chrono::steady_clock::now() < until) {
    if (is_set(job.options.cancelled)) return cancelled_error(job);
    std::this_thread::sleep_for(std::min<std::chrono::milliseconds>(pause, std::chrono::milliseconds(50)));
  }
  return {};
}

// Bytes that no validator ties to a version may only be continued if a digest will check the whole.
Status drop_unverifiable(Job& job) {
  if (job.part.size() == 0) return {};
  const bool beyond = job.version.total && job.part.size() > *job.version.total;
  const bool tied = !job.version.validator().empty() || (!job.options.sha256.empty() && job.version.total);
  return tied && !beyond ? Status{} : job.part.truncate(0);
}

Status transfer(Job& job, int& attempts) {
  uint64_t most = job.part.size();
  int idle = 0;
  while (!(job.version.total && job.part.size() > 0 && job.part.size() == *job.version.total)) {
    if (is_set(job.options.cancelled)) return cancelled_error(job);
    LOCI_CHECK(drop_unverifiable(job));
    std::string why;
    ++attempts;
    LOCI_TRY(const Verdict verdict, attempt(job, why));
    if (verdict == Verdict::kDone) break;
    idle = job.part.size() > most ? 1 : idle + 1;
    most = std::max(most, job.part.size());
    if (idle > job.options.max_idle_attempts || attempts >= job.options.max_attempts) {
      return fail(ErrorCode::kIo, "gave up on '{}' after {} attempts: {}", job.version.url, attempts, why);
    }
    LOCI_CHECK(wait_before_retry(job, idle));
  }
  if (job.options.on_progress) job.options.on_progress(job.part.size(), job.part.size());
  return {};
}

// Transfers and checks; bytes kept from earlier may be the fault of a wrong digest, so then one fresh transfer follows.
Result<std::string> transfer_checked(Job& job, FetchReport& report) {
  for (;;) {
    const bool had_bytes = job.part.size() > 0;
    const int before = report.attempts;
    LOCI_CHECK(transfer(job, report.attempts));
    LOCI_TRY(std::string digest, job.part.sha256(job.options.cancelled));
    if (job.options.sha256.empty() || same_digest(digest, job.options.sha256)) return digest;
    const bool pieced_together = had_bytes || report.attempts - before > 1;
    LOCI_CHECK(job.part.truncate(0));
    job.version = Version{job.version.url, "", "", std::nullopt};
    if (!pieced_together || report.attempts >= job.options.max_attempts) {
      job.part.discard();
      std::error_code ignored;
      std::filesystem::remove(job.record_path, ignored);
      return fail(ErrorCode::kCorrupt, "'{}' has SHA-256 {}, expected {}; nothing was kept", job.version.url, digest,
                  job.options.sha256);
    }
    report.resumed_from = 0;
  }
}

Status check_request(const std::string& url, const std::filesystem::path& destination, const FetchOptions& options) {
  std::string scheme = url.substr(0, url.find("://"));
  std::transform(scheme.begin(), scheme.end(), scheme.begin(), [](unsigned char c) { return std::tolower(c); });
  if (url.find("://") == url.npos || (scheme != "http" && scheme != "https")) {
    return fail(ErrorCode::kInvalidArgument, "'{}' is not an http or https address", url);
  }
  if (!options.sha256.empty() &&
      (options.sha256.size() != 64 ||
       !std::all_of(options.sha256.begin(), options.sha256.end(), [](unsigned char c) { return std::isxdigit(c); }))) {
    return fail(ErrorCode::kInvalidArgument, "'{}' is not a SHA-256: 64 hexadecimal digits", options.sha256);
  }
  if (!destination.has_filename()) {
    return fail(ErrorCode::kInvalidArgument, "'{}' names no file", destination.string());
  }
  return {};
}

}  // namespace

Result<FetchReport> fetch(const std::string& url, const std::filesystem::path& destination,
                          const FetchOptions& options) {
  LOCI_CHECK(check_request(url, destination, options));
  LOCI_TRY(PartFile part, PartFile::open(destination, options.cancelled));
  std::filesystem::path record_path = destination;
  record_path += ".part.json";
  FetchReport report;
  std::error_code ignored;
  if (part.waited() && std::filesystem::is_regular_file(destination, ignored)) {
    LOCI_TRY(report.sha256, sha256_of_file(destination, options.cancelled));
    if (options.sha256.empty() || same_digest(report.sha256, options.sha256)) {
      report.bytes = std::filesystem::file_size(destination, ignored);
      part.discard();
      return report;
    }
  }
  Job job{options, part, record_path, read_record(record_path, url)};
  LOCI_CHECK(drop_unverifiable(job));
  report.resumed_from = part.size();
  LOCI_TRY(report.sha256, transfer_checked(job, report));
  report.bytes = part.size();
  LOCI_CHECK(part.commit());
  std::filesystem::remove(record_path, ignored);
  return report;
}

}  // namespace loci

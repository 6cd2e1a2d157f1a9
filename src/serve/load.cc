#include "serve/load.h"

#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <list>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

namespace loci {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point from) { return std::chrono::duration<double>(Clock::now() - from).count(); }

constexpr size_t kMostLineBytes = size_t{1} << 20;
constexpr size_t kMostErrorBytes = 400;

// One streamed request.
class Stream {
 public:
  // Its times count from `due`.
  Stream(const LoadOptions& options, uint32_t index, Clock::time_point due, LoadSample& sample)
      : sample_(sample), begin_(due) {
    json body = {{"model", options.model},
                 {"prompt", options.prompts[index % options.prompts.size()]},
                 {"max_tokens", options.max_tokens},
                 {"temperature", 0},
                 {"stream", true},
                 {"stream_options", {{"include_usage", true}}}};
    if (options.ignore_eos) body["ignore_eos"] = true;
    if (!options.attention.empty()) body["attention"] = options.attention;
    body_ = body.dump(-1, ' ', false, json::error_handler_t::replace);
    headers_ = curl_slist_append(headers_, "Content-Type: application/json");
    headers_ = curl_slist_append(headers_, "Expect:");
    if (!options.api_key.empty()) {
      headers_ = curl_slist_append(headers_, ("Authorization: Bearer " + options.api_key).c_str());
    }
    handle_ = curl_easy_init();
    curl_easy_setopt(handle_, CURLOPT_URL, (options.url + "/v1/completions").c_str());
    curl_easy_setopt(handle_, CURLOPT_HTTPHEADER, headers_);
    curl_easy_setopt(handle_, CURLOPT_POSTFIELDS, body_.c_str());
    curl_easy_setopt(handle_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body_.size()));
    curl_easy_setopt(handle_, CURLOPT_WRITEFUNCTION, &Stream::write);
    curl_easy_setopt(handle_, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(handle_, CURLOPT_TIMEOUT_MS, static_cast<long>(options.timeout_seconds * 1000));
    curl_easy_setopt(handle_, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle_, CURLOPT_PRIVATE, this);
  }
  ~Stream() {
    curl_easy_cleanup(handle_);
    curl_slist_free_all(headers_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  CURL* handle() { return handle_; }

  void finish(CURLcode code) {
    sample_.total = seconds_since(begin_);
    curl_easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &sample_.status);
    if (code != CURLE_OK) {
      sample_.error = curl_easy_strerror(code);
    } else if (sample_.status != 200) {
      sample_.error = line_.empty() ? "an error without a text" : line_.substr(0, kMostErrorBytes);
    } else if (!done_ && sample_.error.empty()) {
      sample_.error = "the stream ended without [DONE]";
    }
    sample_.ok = sample_.error.empty();
    // A server that counts no tokens sends one a piece.
    if (sample_.completion_tokens == 0) sample_.completion_tokens = pieces_;
  }

 private:
  static size_t write(char* data, size_t size, size_t count, void* user) {
    auto& self = *static_cast<Stream*>(user);
    const std::string_view bytes(data, size * count);
    for (const char c : bytes) {
      if (c != '\n') {
        if (self.line_.size() == kMostLineBytes) return 0;
        self.line_ += c;
        continue;
      }
      self.take_line();
      self.line_.clear();
    }
    return bytes.size();
  }

  void take_line() {
    constexpr std::string_view kData = "data: ";
    if (!line_.starts_with(kData)) return;
    const std::string_view data = std::string_view(line_).substr(kData.size());
    if (data.starts_with("[DONE]")) {
      done_ = true;
      return;
    }
    const json event = json::parse(data, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) return;
    if (event.contains("error")) sample_.error = event["error"].dump().substr(0, kMostErrorBytes);
    if (event.contains("usage") && event["usage"].is_object()) take_usage(event["usage"]);
    if (!event.contains("choices") || !event["choices"].is_array()) return;
    for (const json& choice : event["choices"]) {
      if (choice.is_object() && choice.contains("text") && choice["text"].is_string() &&
          !choice["text"].get_ref<const std::string&>().empty()) {
        take_piece();
      }
    }
  }

  void take_usage(const json& usage) {
    const auto number = [](const json& of, const char* name) -> uint64_t {
      return of.contains(name) && of[name].is_number_unsigned() ? of[name].get<uint64_t>() : 0;
    };
    sample_.prompt_tokens = number(usage, "prompt_tokens");
    sample_.completion_tokens = number(usage, "completion_tokens");
    if (usage.contains("prompt_tokens_details") && usage["prompt_tokens_details"].is_object())
      sample_.cached_tokens = number(usage["prompt_tokens_details"], "cached_tokens");
  }

  void take_piece() {
    const double now = seconds_since(begin_);
    if (pieces_ == 0) {
      sample_.first = now;
    } else {
      sample_.gaps.push_back(now - last_);
    }
    last_ = now;
    ++pieces_;
  }

  LoadSample& sample_;
  Clock::time_point begin_;
  std::string body_;
  std::string line_;
  curl_slist* headers_ = nullptr;
  CURL* handle_ = nullptr;
  double last_ = 0;
  uint64_t pieces_ = 0;
  bool done_ = false;
};

class Load {
 public:
  explicit Load(const LoadOptions& options) : options_(options), random_(options.seed) {
    result_.samples.resize(options.requests);
    multi_ = curl_multi_init();
  }
  ~Load() {
    for (const auto& stream : open_) curl_multi_remove_handle(multi_, stream->handle());
    open_.clear();
    curl_multi_cleanup(multi_);
  }

  Result<LoadResult> run() {
    begin_ = Clock::now();
    while (done_ < options_.requests) {
      if (options_.cancelled != nullptr && options_.cancelled->load())
        return fail(ErrorCode::kCancelled, "interrupted after {} of {} requests", done_, options_.requests);
      start_due();
      int running = 0;
      if (const CURLMcode code = curl_multi_perform(multi_, &running); code != CURLM_OK)
        return fail(ErrorCode::kIo, "the requests cannot be made: {}", curl_multi_strerror(code));
      collect();
      if (done_ < options_.requests) curl_multi_poll(multi_, nullptr, 0, wait_ms(), nullptr);
    }
    result_.seconds = seconds_since(begin_);
    return std::move(result_);
  }

 private:
  void start_due() {
    while (started_ < options_.requests && open_.size() < options_.concurrency && seconds_since(begin_) >= due_) {
      LoadSample& sample = result_.samples[started_];
      sample.begin = options_.rate > 0 ? due_ : seconds_since(begin_);
      const auto due =
          begin_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(sample.begin));
      open_.push_back(std::make_unique<Stream>(options_, started_, due, sample));
      curl_multi_add_handle(multi_, open_.back()->handle());
      ++started_;
      if (options_.rate > 0) due_ += std::exponential_distribution<double>(options_.rate)(random_);
    }
  }

  void collect() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* const handle = message->easy_handle;
      const CURLcode code = message->data.result;
      const auto found = std::find_if(open_.begin(), open_.end(), [&](const auto& s) { return s->handle() == handle; });
      (*found)->finish(code);
      curl_multi_remove_handle(multi_, handle);
      open_.erase(found);
      ++done_;
      if (options_.on_progress) options_.on_progress(done_);
    }
  }

  int wait_ms() const {
    if (started_ == options_.requests || open_.size() >= options_.concurrency) return 100;
    return static_cast<int>(std::clamp((due_ - seconds_since(begin_)) * 1000, 0.0, 100.0));
  }

  const LoadOptions& options_;
  std::mt19937_64 random_;
  CURLM* multi_ = nullptr;
  std::list<std::unique_ptr<Stream>> open_;
  LoadResult result_;
  Clock::time_point begin_;
  double due_ = 0;
  uint32_t started_ = 0;
  uint32_t done_ = 0;
};

}  // namespace

Result<LoadResult> run_load(const LoadOptions& options) {
  if (options.prompts.empty() || options.requests == 0 || options.concurrency == 0) {
    return fail(ErrorCode::kInvalidArgument, "{} requests of {} prompts, {} at once, are nothing to do",
                options.requests, options.prompts.size(), options.concurrency);
  }
  curl_global_init(CURL_GLOBAL_DEFAULT);
  return Load(options).run();
}

}  // namespace loci

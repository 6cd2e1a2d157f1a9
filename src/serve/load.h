// A load on an OpenAI-protocol server, ours or another: requests that start at a rate or as soon as one ends, streamed
// answers, and when their pieces came. One thread, any number of streams (libcurl's multi interface).
//
// At a rate, a request's times count from when it was due, not from when there was a stream free for it: a server that
// answers late delays its next requests, and that wait is its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"

namespace loci {

struct LoadOptions {
  std::string url;      // of the server, without /v1
  std::string api_key;  // empty: none
  std::string model;
  std::string attention;             // empty: not sent, so that other servers do not mind
  std::vector<std::string> prompts;  // taken in turn
  uint32_t requests = 1;
  uint32_t concurrency = 1;  // that are open at once, at most
  double rate = 0;           // starts a second, at random times (exponential gaps); 0: as soon as one ends
  uint32_t max_tokens = 64;
  bool ignore_eos = true;
  uint64_t seed = 0;  // of the random times
  double timeout_seconds = 600;
  const std::atomic<bool>* cancelled = nullptr;
  std::function<void(uint32_t done)> on_progress = {};
};

// One request.
struct LoadSample {
  bool ok = false;
  long status = 0;           // of HTTP; 0: no answer
  std::string error;         // why it is not ok
  double begin = 0;          // seconds from the load's begin until it was due
  double first = 0;          // from its begin to its first text
  double total = 0;          // to its end
  std::vector<double> gaps;  // between pieces of text
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t completion_tokens = 0;
};

struct LoadResult {
  std::vector<LoadSample> samples;  // in order of their starts
  double seconds = 0;               // from the first start to the last end
};

// kInvalidArgument if there is nothing to ask; kCancelled. Requests that fail are samples.
Result<LoadResult> run_load(const LoadOptions& options);

}  // namespace loci

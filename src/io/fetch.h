// Downloads over http and https that survive bad networks: resumed with Range, checked, and renamed into place when
// whole.
//
// While a transfer runs, `DESTINATION.part` holds the bytes so far and `DESTINATION.part.json` says which version of
// the file they are from (ETag or Last-Modified, total size); both outlive a cancelled or failed fetch, and the next
// one resumes. Bytes of different versions are never mixed: without a validator a transfer resumes only if a SHA-256
// will check the result.
// `.part` is locked while in use, so that a second fetch of the same destination waits for the first.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/error.h"

namespace loci {

struct FetchOptions {
  std::string sha256;                      // expected digest, hex; empty: not checked
  uint64_t max_bytes = uint64_t{1} << 40;  // refuse anything larger
  int max_redirects = 8;
  int max_idle_attempts = 5;               // attempts in a row that gain no byte before giving up
  int max_attempts = 200;                  // in all
  std::chrono::milliseconds backoff{500};  // before the first repeated attempt; doubles up to 16 times this
  std::chrono::seconds stall_timeout{30};  // a connection that moves nothing for this long counts as cut
  const std::atomic<bool>* cancelled = nullptr;
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> on_progress;  // total 0: the server does not say
};

struct FetchReport {
  uint64_t bytes = 0;         // size of the file
  uint64_t resumed_from = 0;  // bytes that an earlier call had already fetched and this one kept
  int attempts = 0;           // requests made; 0 if another fetch of the same destination completed it meanwhile
  std::string sha256;         // of the file, hex
};

// Fetches `url` into `destination`, whose folder must exist. An existing destination is replaced only by a complete
// file.
Result<FetchReport> fetch(const std::string& url, const std::filesystem::path& destination,
                          const FetchOptions& options);

}  // namespace loci

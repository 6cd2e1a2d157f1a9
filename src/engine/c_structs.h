// Between the structs of the C API and those of loci.h. Callers' structs begin with their size, so that programs and
// libraries of different ages understand each other: fields that the caller does not know keep their defaults, fields
// that this library does not know must be zero. Pure translation; texts of reports are views of what they were made
// from.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>

#include "base/error.h"
#include "loci/loci.h"
#include "loci/loci_c.h"

struct loci_engine {
  loci::Engine engine;
};

struct loci_session {
  loci::Session session;
};

struct loci_cancel {
  std::atomic<bool> set{false};
};
static_assert(std::atomic<bool>::is_always_lock_free, "loci_cancel_set runs in signal handlers");

namespace loci {

// Frees itself and what the public part points to with one delete.
struct OwnedCompletion : loci_completion {
  Completion owned;
};

loci_engine_options default_options();
loci_request default_request();

Result<EngineOptions> from_c(const loci_engine_options* given);  // NULL: the defaults
Result<Request> from_c(const loci_request* given);

loci_code to_c(ErrorCode code);
loci_memory_plan to_c(const MemoryPlan& plan);
loci_model_info to_c(const ModelInfo& info);
loci_completion* to_c(Completion completion);  // an OwnedCompletion

Status require(const void* pointer, const char* name);

// An array argument: NULL is fine when it is empty.
template <typename T>
Result<std::span<const T>> array(const T* data, size_t count, const char* name) {
  if (count > 0) LOCI_CHECK(require(data, name));
  return std::span<const T>(data, count);
}

template <typename T>
void init(T* out, size_t struct_size, T defaults) {
  if (out == nullptr || struct_size < sizeof(size_t)) return;
  std::memset(static_cast<void*>(out), 0, struct_size);
  defaults.struct_size = struct_size;
  std::memcpy(out, &defaults, std::min(struct_size, sizeof(T)));
}

// Copies a caller's struct, of an older or newer header, over the defaults. Fields that this library does not know must
// be zero: they ask for something.
template <typename T>
Result<T> read_struct(const T* given, const T& defaults, const char* name) {
  LOCI_CHECK(require(given, name));
  const size_t size = given->struct_size;
  if (size < sizeof(size_t) || size > 4096) {
    return fail(ErrorCode::kInvalidArgument, "{}.struct_size is {}: initialise it with {}_init", name, size, name);
  }
  T out = defaults;
  std::memcpy(&out, given, std::min(size, sizeof(T)));
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  if (std::any_of(bytes + std::min(size, sizeof(T)), bytes + size, [](unsigned char b) { return b != 0; })) {
    return fail(ErrorCode::kUnsupported, "{} uses fields that this library, older than the program, does not know",
                name);
  }
  return out;
}

// Fills a caller's struct as far as the caller's header knows it; the rest becomes zero.
template <typename T>
Status write_struct(T value, T* out, const char* name) {
  LOCI_TRY(const T known, read_struct(out, T{}, name));
  std::memcpy(reinterpret_cast<char*>(out) + sizeof(size_t), reinterpret_cast<const char*>(&value) + sizeof(size_t),
              std::min(known.struct_size, sizeof(T)) - sizeof(size_t));
  return {};
}

}  // namespace loci

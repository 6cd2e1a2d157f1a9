// Making and passing on errors. The types are public (include/loci/result.h); this adds what the library's own code
// uses.
#pragma once

#include <fmt/format.h>

#include "loci/result.h"

namespace loci {

// An Error with a formatted message: fail(ErrorCode::kCorrupt, "tensor '{}' has {} dimensions, at most 4 are allowed",
// ...).
template <typename... Args>
Error fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error{code, fmt::format(format, std::forward<Args>(args)...)};
}

}  // namespace loci

// LOCI_TRY(auto x, f()) declares x from the value of f() or returns its error. A macro, since only a macro can return.
#define LOCI_CONCAT_(a, b) a##b
#define LOCI_CONCAT(a, b) LOCI_CONCAT_(a, b)
#define LOCI_TRY_(result, declaration, ...)           \
  auto result = (__VA_ARGS__);                        \
  if (!result.ok()) return std::move(result).error(); \
  declaration = std::move(result).value()
#define LOCI_TRY(declaration, ...) LOCI_TRY_(LOCI_CONCAT(loci_result_, __LINE__), declaration, __VA_ARGS__)
// LOCI_CHECK(f()) returns the error of a Status or Result, if any.
#define LOCI_CHECK(...)                                           \
  do {                                                            \
    auto loci_status = (__VA_ARGS__);                             \
    if (!loci_status.ok()) return std::move(loci_status).error(); \
  } while (false)

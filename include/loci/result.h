// Errors as values. Every fallible function of Loci returns a Result; nothing throws across a module border.
//
//   Result<Model> model = open(path);
//   if (!model.ok()) return model.error();
//
// An Error holds a code for programs and one sentence for people: what, which value, which limit, what to do.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace loci {

enum class ErrorCode {
  kInvalidArgument,  // the caller asked for something that has no meaning
  kNotFound,         // a file, tensor, key or name does not exist
  kCorrupt,          // data from outside contradicts itself or its format
  kUnsupported,      // well-formed, but not something this build can do
  kLimit,            // a stated limit (memory, context, size) would be exceeded
  kIo,               // the operating system or the network refused
  kCancelled,        // the caller asked to stop
  kInternal,         // our own mistake
};

// "invalid argument", "not found", ...: for logs and JSON.
const char* to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

// Either a T or an Error. Accessing the wrong one is a programming error and terminates.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace loci

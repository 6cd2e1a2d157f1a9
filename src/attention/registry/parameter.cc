#include "attention/registry/parameter.h"

#include <charconv>
#include <cmath>

#include "io/printable.h"

namespace loci {
namespace {

template <typename T>
bool parse_whole(std::string_view word, T& out) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out);
  return error == std::errc() && end == word.data() + word.size();
}

Result<Value> read_integer(const Parameter& p, std::string_view word) {
  int64_t value = 0;
  const bool whole = parse_whole(word, value);
  const auto least = static_cast<int64_t>(p.least), most = static_cast<int64_t>(p.most);
  if (whole && value >= least && value <= most && (value - least) % p.step == 0) return Value(value);
  return fail(ErrorCode::kInvalidArgument, "is '{}', but must be {}", printable(word), p.range());
}

Result<Value> read_number(const Parameter& p, std::string_view word) {
  double value = 0;
  if (parse_whole(word, value) && value >= p.least && value <= p.most) return Value(value == 0 ? 0.0 : value);
  return fail(ErrorCode::kInvalidArgument, "is '{}', but must be {}", printable(word), p.range());
}

Result<Value> read_choice(const Parameter& p, std::string_view word) {
  for (size_t i = 0; i < p.words.size(); ++i) {
    if (p.words[i] == word) return Value(static_cast<int64_t>(i));
  }
  return fail(ErrorCode::kInvalidArgument, "is '{}', but must be {}", printable(word), p.range());
}

Result<Value> read_text(const Parameter& p, std::string_view word) {
  constexpr std::string_view kMarks = "._/:+-";
  bool good = !word.empty() && word.size() <= 200;
  for (const char c : word) {
    good &= (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            kMarks.find(c) != std::string_view::npos;
  }
  if (good) return Value(std::string(word));
  return fail(ErrorCode::kInvalidArgument, "is '{}', but must be {}", printable(word), p.range());
}

}  // namespace

Result<Value> Parameter::read(std::string_view word) const {
  switch (kind) {
    case ParameterKind::kInteger:
      return read_integer(*this, word);
    case ParameterKind::kNumber:
      return read_number(*this, word);
    case ParameterKind::kFlag:
      if (word == "true" || word == "false") return Value(word == "true");
      return fail(ErrorCode::kInvalidArgument, "is '{}', but must be {}", printable(word), range());
    case ParameterKind::kChoice:
      return read_choice(*this, word);
    case ParameterKind::kText:
      break;
  }
  return read_text(*this, word);
}

std::string Parameter::text(const Value& value) const {
  switch (kind) {
    case ParameterKind::kInteger:
      return fmt::format("{}", std::get<int64_t>(value));
    case ParameterKind::kNumber:
      return fmt::format("{}", std::get<double>(value));
    case ParameterKind::kFlag:
      return std::get<bool>(value) ? "true" : "false";
    case ParameterKind::kChoice:
      return std::string(words[static_cast<size_t>(std::get<int64_t>(value))]);
    case ParameterKind::kText:
      break;
  }
  return std::get<std::string>(value);
}

std::string Parameter::range() const {
  switch (kind) {
    case ParameterKind::kInteger: {
      const auto lowest = static_cast<int64_t>(least), highest = static_cast<int64_t>(most);
      if (step == 1) return fmt::format("a whole number in {}..{}", lowest, highest);
      return fmt::format("one of {}, {}, {}, ... {}", lowest, lowest + step, lowest + 2 * step, highest);
    }
    case ParameterKind::kNumber:
      if (std::isinf(most)) return fmt::format("a number of at least {}", least);
      return fmt::format("a number in {}..{}", least, most);
    case ParameterKind::kFlag:
      return "true or false";
    case ParameterKind::kChoice:
      return fmt::format("one of {}", fmt::join(words, ", "));
    case ParameterKind::kText:
      break;
  }
  return "a word of letters, digits and ._/:+-";
}

}  // namespace loci

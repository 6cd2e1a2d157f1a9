// The typed parameters of a method, as its registry line declares them.
//
// A method keeps its options in a plain struct whose member initialisers are the defaults. Each member becomes a
// Parameter: a name, a range, a unit and a sentence. From it come the parser of plans, `loci methods` and the pages of
// the methods, so a default is written once. A Value is what a plan holds for it; `assign` puts the value into the
// struct. Plain data, immutable once built; any thread.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/error.h"

namespace loci {

// What a plan holds for a parameter; a choice is the index of its word.
using Value = std::variant<int64_t, double, bool, std::string>;

enum class ParameterKind : uint8_t { kInteger, kNumber, kFlag, kChoice, kText };

struct Parameter {
  std::string_view name;
  std::string_view unit;     // of numbers: "entries", "tokens"; may be empty
  std::string_view meaning;  // a phrase
  ParameterKind kind = ParameterKind::kInteger;
  Value fallback;  // the default
  double least = 0;
  double most = 0;
  int64_t step = 1;                     // integers are least, least + step, least + 2 step, ...
  std::vector<std::string_view> words;  // of a choice
  void (*assign)(void* options, const Value& value) = nullptr;
  const void* options_tag = nullptr;  // which struct `assign` writes to

  // The value that `word` says. kInvalidArgument: what is wrong with it and what may stand there, as the end of a
  // sentence whose subject is the parameter ("is 0, but must be ...").
  Result<Value> read(std::string_view word) const;
  // The word that reads back as this value.
  std::string text(const Value& value) const;
  // What may stand there: "a whole number in 1..1024", "one of mean, max".
  std::string range() const;
};

struct IntegerRange {
  int64_t least = 0;
  int64_t most = int64_t{1} << 30;
  int64_t step = 1;
};

struct NumberRange {
  double least = 0;
  double most = std::numeric_limits<double>::infinity();
};

namespace detail {

template <typename T>
struct MemberOf;
template <typename Struct, typename Field>
struct MemberOf<Field Struct::*> {
  using Options = Struct;
  using Type = Field;
};

// One object per struct of options; its address is the tag.
template <typename Options>
inline constexpr char kOptionsTag = 0;

template <auto Member, typename Held>
Parameter parameter(std::string_view name, std::string_view unit, std::string_view meaning, ParameterKind kind) {
  using Of = MemberOf<decltype(Member)>;
  using Type = typename Of::Type;
  Parameter out;
  out.name = name;
  out.unit = unit;
  out.meaning = meaning;
  out.kind = kind;
  out.fallback = static_cast<Held>(typename Of::Options{}.*Member);
  out.assign = [](void* options, const Value& value) {
    static_cast<typename Of::Options*>(options)->*Member = static_cast<Type>(std::get<Held>(value));
  };
  out.options_tag = &kOptionsTag<typename Of::Options>;
  return out;
}

}  // namespace detail

template <auto Member>
Parameter integer(std::string_view name, IntegerRange range, std::string_view unit, std::string_view meaning) {
  Parameter out = detail::parameter<Member, int64_t>(name, unit, meaning, ParameterKind::kInteger);
  out.least = static_cast<double>(range.least);
  out.most = static_cast<double>(range.most);
  out.step = range.step;
  return out;
}

template <auto Member>
Parameter number(std::string_view name, NumberRange range, std::string_view unit, std::string_view meaning) {
  // A float's default would print with digits that nobody wrote.
  static_assert(std::is_same_v<typename detail::MemberOf<decltype(Member)>::Type, double>, "numbers are doubles");
  Parameter out = detail::parameter<Member, double>(name, unit, meaning, ParameterKind::kNumber);
  out.least = range.least;
  out.most = range.most;
  return out;
}

template <auto Member>
Parameter flag(std::string_view name, std::string_view meaning) {
  return detail::parameter<Member, bool>(name, "", meaning, ParameterKind::kFlag);
}

// The member is an enumeration whose values 0, 1, ... are the words in this order.
template <auto Member>
Parameter choice(std::string_view name, std::vector<std::string_view> words, std::string_view meaning) {
  Parameter out = detail::parameter<Member, int64_t>(name, "", meaning, ParameterKind::kChoice);
  out.words = std::move(words);
  return out;
}

// A name, a path or a list: letters, digits and ._/:+- .
template <auto Member>
Parameter text(std::string_view name, std::string_view meaning) {
  return detail::parameter<Member, std::string>(name, "", meaning, ParameterKind::kText);
}

}  // namespace loci

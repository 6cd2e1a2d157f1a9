// A method's registry line: everything the engine, the command line and the tests need to know about it besides its
// code. One const Method per method, in the method's own file; built_in.cc lists them.
//
// The parser of plans, `loci methods`, the compatibility matrix, the conformance tests and the benchmarks are driven by
// these lines, so a method cannot be registered and unreachable, nor reachable and untested. Plain data; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "attention/registry/parameter.h"
#include "base/assert.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

// The four questions about a memory: which entries are kept, how they are stored, which of them a query reads, how what
// it read is combined.
enum class Stage : uint8_t { kRetain, kStore, kSelect, kMix };
inline constexpr std::array kStages = {Stage::kRetain, Stage::kStore, Stage::kSelect, Stage::kMix};
std::string_view to_string(Stage stage);

enum class Phase : uint8_t { kPrefill, kDecode };
inline constexpr std::array kPhases = {Phase::kPrefill, Phase::kDecode};
std::string_view to_string(Phase phase);

// What a request declares besides its tokens, and a method may depend on: it joins the keys of shared prefixes.
enum class RequestData : uint8_t { kTotalLength, kSeed, kTask, kSpans };
std::string_view to_string(RequestData data);

// The checks that the conformance suite runs on every method.
enum class Conformance : uint8_t {
  kDegenerateIsDense,
  kChunksAgree,
  kBatchedEqualsAlone,
  kThreadsAgree,
  kEveryCodec,
  kForkTrimSave,
  kPrefixHitEqualsRecompute,
  kServed,
  kAdmissionHolds,
  kPrintsBack,
  kReplayAgrees,
};
std::string_view to_string(Conformance check);

// A set of a few enumerators.
template <typename E>
class Set {
 public:
  constexpr Set() = default;
  constexpr Set(std::initializer_list<E> members) {
    for (const E member : members) bits_ |= bit(member);
  }
  constexpr bool has(E member) const { return (bits_ & bit(member)) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr bool holds(Set other) const { return (bits_ & other.bits_) == other.bits_; }
  constexpr bool meets(Set other) const { return (bits_ & other.bits_) != 0; }
  constexpr Set operator|(Set other) const { return Set(bits_ | other.bits_); }
  constexpr Set operator&(Set other) const { return Set(bits_ & other.bits_); }
  constexpr auto operator<=>(const Set&) const = default;

 private:
  constexpr explicit Set(unsigned bits) : bits_(bits) {}
  static constexpr unsigned bit(E member) { return 1u << static_cast<unsigned>(member); }
  unsigned bits_ = 0;
};

inline constexpr Set<Phase> kBothPhases = {Phase::kPrefill, Phase::kDecode};

// The smallest unit of a model that can be given an answer of its own by the method.
enum class Granularity : uint8_t { kHead, kLayer, kModel };

struct Method;

// A method with its parameters' values: what a plan holds.
struct MethodCall {
  const Method* method = nullptr;
  std::vector<Value> values;  // one per parameter, in their order

  // The options struct that the method's parameters were declared on.
  template <typename Options>
  Options as() const;
  // Of a parameter that exists.
  const Value& value(std::string_view parameter) const;

  bool operator==(const MethodCall&) const = default;
};

// A number of tokens: a constant, times the values of up to two integer parameters.
struct Tokens {
  uint32_t count = 0;
  std::array<std::string_view, 2> times{};

  uint64_t of(const MethodCall& call) const;
  std::string text() const;  // "64", "window", "128 x step"
};

struct Exclusion {
  std::string_view method;  // that it does not compose with on the same heads
  std::string_view why;     // a clause
};

struct Waiver {
  Conformance check;
  std::string_view why;  // the method cannot pass it by its nature
};

// The classes that methods implement, and what their making may draw on.
class Retain;
class Select;
class Mix;
struct MethodContext;

template <typename StageClass>
using Make = Result<std::unique_ptr<StageClass>> (*)(const MethodCall& call, const MethodContext& context);

inline bool always(const MethodCall&) { return true; }
inline bool never(const MethodCall&) { return false; }

struct Method {
  std::string_view name{};
  std::string_view summary{};  // one sentence
  Set<Stage> stages{};
  Set<Phase> phases = kBothPhases;  // in which a Select may be asked; the other stages hold for both
  std::vector<Parameter> parameters{};
  Granularity granularity = Granularity::kHead;
  Tokens cell = {.count = 1};  // the grid of tokens on which it decides; chunks are whole cells
  Tokens tile = {.count = 1};  // query rows that share a selection
  // The longest prompt in which it decides nothing, so that cells need not be kept together; null: 0.
  uint64_t (*idle_until)(const MethodCall& call) = nullptr;
  Tokens lookback = {.count = 0};  // rows it needs at a prompt's end
  std::string_view citation{};     // title and arXiv number
  std::string_view dense_when{};   // the setting that emits the dense read; empty: there is none
  // Arguments for trials on a few hundred tokens: with the first the method acts, with the second it is at dense_when.
  std::string_view trial{};
  std::string_view dense_trial{};
  std::string_view profile{};  // the calibration whose numbers it needs; empty: none
  Set<RequestData> request{};
  // Whether prompt entries (of any layer) can differ from dense's under this call: then it joins the keys of shared
  // prefixes. A method that acts after the prompt, or in decode alone, says never.
  bool (*changes_prompt)(const MethodCall& call) = always;
  // Relations between parameters ("window is 64, but must be below the budget of 32"); null: none.
  Status (*check)(const MethodCall& call) = nullptr;
  std::vector<Exclusion> excludes{};
  std::vector<Waiver> waivers{};

  // How each stage is made; null where the method has no answer, or where the executor needs no class: dense reads and
  // codecs.
  Make<Retain> make_retain = nullptr;
  Make<Select> make_select = nullptr;
  Make<Mix> make_mix = nullptr;
  std::optional<KvCodec> codec{};  // of a store

  // A call with every parameter at its default.
  MethodCall call() const;
};

// A short name for a plan.
struct Preset {
  std::string_view name;
  std::string_view plan;
  std::string_view summary;
};

template <typename Options>
Options MethodCall::as() const {
  Options out;
  for (size_t i = 0; i < values.size(); ++i) {
    const Parameter& parameter = method->parameters[i];
    LOCI_ASSERT(parameter.options_tag == &detail::kOptionsTag<Options>, "a method asks for its own options");
    parameter.assign(&out, values[i]);
  }
  return out;
}

}  // namespace loci

#include "attention/plan/plan.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>

namespace loci {
namespace {

// Raised when plans of the same form come to mean something else.
constexpr std::string_view kRevision = "loci plan 1: ";

constexpr uint64_t kMostTokens = uint64_t{1} << 31;  // of a cell; a common multiple beyond it is as bad as any

std::string print_call(const MethodCall& call, bool every_parameter) {
  std::string arguments;
  for (size_t i = 0; i < call.values.size(); ++i) {
    const Parameter& parameter = call.method->parameters[i];
    if (!every_parameter && call.values[i] == parameter.fallback) continue;
    arguments += fmt::format("{}{}={}", arguments.empty() ? "" : ",", parameter.name, parameter.text(call.values[i]));
  }
  if (arguments.empty()) return std::string(call.method->name);
  return fmt::format("{}({})", call.method->name, arguments);
}

std::string print_answer(const Answer& answer, bool every_parameter) {
  std::string out;
  if (answer.phases != kBothPhases) {
    out = fmt::format("{}:", to_string(answer.phases.has(Phase::kPrefill) ? Phase::kPrefill : Phase::kDecode));
  }
  if (answer.calls.empty()) out += kDense.name;
  for (size_t i = 0; i < answer.calls.size(); ++i) {
    out += fmt::format("{}{}", i == 0 ? "" : "+", print_call(answer.calls[i], every_parameter));
  }
  return out + answer.scope.text();
}

bool ranked(const Answer& a, const Answer& b) {
  if (a.scope.all() != b.scope.all()) return a.scope.all();
  if (a.scope != b.scope) return a.scope < b.scope;
  return a.phases < b.phases;
}

// What the stage does anyway.
bool is_default(const Answer& answer, Stage stage) {
  if (stage == Stage::kStore) return answer.calls.size() == 1 && answer.calls[0].method->codec == KvCodec::kKv16;
  return answer.calls.empty();
}

// The same calls for the same heads, said for each phase apart, become one answer.
void join_phases(std::vector<Answer>& answers) {
  for (size_t i = 0; i < answers.size(); ++i) {
    for (size_t j = i + 1; j < answers.size(); ++j) {
      if (answers[i].scope != answers[j].scope || answers[i].calls != answers[j].calls) continue;
      answers[i].phases = answers[i].phases | answers[j].phases;
      answers.erase(answers.begin() + static_cast<std::ptrdiff_t>(j--));
    }
  }
}

template <typename Visit>
void visit_calls(const AttentionPlan& plan, Visit visit) {
  for (const Stage stage : kStages) {
    for (const Answer& answer : plan.answers(stage)) {
      for (const MethodCall& call : answer.calls) visit(answer, call);
    }
  }
}

Status check_ids(const Answer& answer, const IdSet& ids, std::string_view what, uint32_t count) {
  if (ids.all() || ids.highest() < count) return {};
  return fail(ErrorCode::kInvalidArgument,
              "attention plan: '{}' names {} {}, but the model has {} (0..{}); end the range at {}",
              print_answer(answer, false), what, ids.highest(), count, count - 1, count - 1);
}

}  // namespace

void AttentionPlan::normalize() {
  for (const Stage stage : kStages) {
    std::vector<Answer>& answers = list(stage);
    join_phases(answers);
    const auto unranged = [&](Set<Phase> phases) {
      return std::any_of(answers.begin(), answers.end(), [&](const Answer& a) {
        return a.scope.all() && a.phases.meets(phases) && !is_default(a, stage);
      });
    };
    std::vector<Answer> kept;
    for (const Answer& answer : answers) {
      // An exception that says what holds anyway is none.
      if (!is_default(answer, stage) || (!answer.scope.all() && unranged(answer.phases))) {
        kept.push_back(answer);
      }
    }
    std::sort(kept.begin(), kept.end(), ranked);
    answers = std::move(kept);
  }
}

std::string AttentionPlan::print(bool every_parameter) const {
  std::string out;
  for (const Stage stage : kStages) {
    if (dense(stage)) continue;
    out += fmt::format("{}{}=", out.empty() ? "" : "; ", to_string(stage));
    for (const Answer& answer : answers(stage)) {
      out += fmt::format("{}{}", &answer == answers(stage).data() ? "" : ",", print_answer(answer, every_parameter));
    }
  }
  return out.empty() ? std::string(kDense.name) : out;
}

std::string AttentionPlan::canonical() const { return print(true); }
std::string AttentionPlan::brief() const { return print(false); }

std::string AttentionPlan::fingerprint() const {
  const std::string text = fmt::format("{}{}", kRevision, canonical());
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

AttentionPlan AttentionPlan::prompt_part() const {
  AttentionPlan out;
  for (const Stage stage : kStages) {
    for (const Answer& answer : answers(stage)) {
      Answer part{answer.phases, answer.scope, {}};
      if (stage == Stage::kSelect) {
        if (!answer.phases.has(Phase::kPrefill)) continue;
        part.phases = {Phase::kPrefill};
      }
      for (const MethodCall& call : answer.calls) {
        if (call.method->changes_prompt(call)) part.calls.push_back(call);
      }
      out.list(stage).push_back(std::move(part));
    }
  }
  out.normalize();
  return out;
}

Set<RequestData> AttentionPlan::request_data() const {
  Set<RequestData> out;
  visit_calls(*this, [&](const Answer&, const MethodCall& call) { out = out | call.method->request; });
  return out;
}

uint64_t AttentionPlan::cell(Phase phase) const {
  uint64_t out = 1;
  visit_calls(*this, [&](const Answer& answer, const MethodCall& call) {
    const uint64_t cell = std::max<uint64_t>(call.method->cell.of(call), 1);
    if (answer.phases.has(phase) && out < kMostTokens) out = std::lcm(out, cell);
  });
  return out;
}

uint64_t AttentionPlan::idle_until() const {
  uint64_t out = kMostTokens;
  visit_calls(*this, [&](const Answer& answer, const MethodCall& call) {
    if (!answer.phases.has(Phase::kPrefill) || call.method->cell.of(call) <= 1) return;
    out = std::min(out, call.method->idle_until == nullptr ? 0 : call.method->idle_until(call));
  });
  return out;
}

uint64_t AttentionPlan::lookback() const {
  uint64_t out = 0;
  visit_calls(*this,
              [&](const Answer&, const MethodCall& call) { out = std::max(out, call.method->lookback.of(call)); });
  return out;
}

const Answer* AttentionPlan::find(Stage stage, Phase phase, uint32_t layer, uint32_t head) const {
  const Answer* found = nullptr;
  // Those without a range come first, so that an exception has the last word.
  for (const Answer& answer : answers(stage)) {
    if (answer.phases.has(phase) && answer.scope.contains(layer, head)) found = &answer;
  }
  return found;
}

std::span<const MethodCall> AttentionPlan::retain(LayerId layer, KvHead head) const {
  const Answer* answer = find(Stage::kRetain, Phase::kPrefill, layer.value, head.value);
  return answer == nullptr ? std::span<const MethodCall>() : answer->calls;
}

const MethodCall* AttentionPlan::select(Phase phase, LayerId layer, KvHead head) const {
  const Answer* answer = find(Stage::kSelect, phase, layer.value, head.value);
  return answer == nullptr || answer->calls.empty() ? nullptr : answer->calls.data();
}

std::span<const MethodCall> AttentionPlan::mix(LayerId layer, QueryHead head) const {
  const Answer* answer = find(Stage::kMix, Phase::kPrefill, layer.value, head.value);
  return answer == nullptr ? std::span<const MethodCall>() : answer->calls;
}

KvCodec AttentionPlan::codec(LayerId layer) const {
  const Answer* answer = find(Stage::kStore, Phase::kPrefill, layer.value, 0);
  return answer == nullptr ? KvCodec::kKv16 : *answer->calls[0].method->codec;
}

Status AttentionPlan::check(const HeadCounts& model) const {
  for (const Stage stage : kStages) {
    for (const Answer& answer : answers(stage)) {
      const bool query = stage == Stage::kMix;
      LOCI_CHECK(check_ids(answer, answer.scope.layers, "layer", model.layers));
      LOCI_CHECK(check_ids(answer, answer.scope.heads, query ? "query head" : "KV head",
                           query ? model.query_heads : model.kv_heads));
    }
  }
  return {};
}

}  // namespace loci

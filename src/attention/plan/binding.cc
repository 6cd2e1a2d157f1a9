// From the words of a plan to methods and values.
#include <algorithm>

#include "attention/plan/plan.h"
#include "attention/plan/syntax.h"
#include "base/spelling.h"
#include "io/printable.h"

namespace loci {
namespace {

template <typename... Args>
Error wrong(fmt::format_string<Args...> format, Args&&... args) {
  return fail(ErrorCode::kInvalidArgument, "attention plan: {}", fmt::format(format, std::forward<Args>(args)...));
}

// "a", "a and b", "a, b and c".
std::string enumerate(const std::vector<std::string>& words, std::string_view last = "and") {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? fmt::format(" {} ", last) : ", ";
    out += words[i];
  }
  return out;
}

std::vector<std::string> stage_names(Set<Stage> stages) {
  std::vector<std::string> out;
  for (const Stage stage : kStages) {
    if (stages.has(stage)) out.emplace_back(to_string(stage));
  }
  return out;
}

std::vector<std::string> parameter_names(const Method& method) {
  std::vector<std::string> out;
  for (const Parameter& parameter : method.parameters) out.emplace_back(parameter.name);
  return out;
}

std::string guess_or(std::string_view word, const std::vector<std::string>& known, const std::string& otherwise) {
  const std::string guess = did_you_mean(word, known);
  return guess.empty() ? "; " + otherwise : guess;
}

// In which stages several methods may answer for one head.
bool joins(Stage stage) { return stage == Stage::kRetain || stage == Stage::kMix; }

Result<Stage> bind_stage(const std::string& word) {
  for (const Stage stage : kStages) {
    if (to_string(stage) == word) return stage;
  }
  const std::vector<std::string> known = stage_names({Stage::kRetain, Stage::kStore, Stage::kSelect, Stage::kMix});
  return wrong("there is no stage '{}'{}", printable(word),
               guess_or(word, known, "the stages are " + enumerate(known)));
}

Result<size_t> bind_parameter(const Method& method, const ArgumentText& argument) {
  if (argument.name.empty()) return size_t{0};
  for (size_t i = 0; i < method.parameters.size(); ++i) {
    if (method.parameters[i].name == argument.name) return i;
  }
  const std::vector<std::string> known = parameter_names(method);
  return wrong("{} has no parameter '{}'{}", method.name, printable(argument.name),
               guess_or(argument.name, known, "it has " + enumerate(known)));
}

Result<MethodCall> bind_call(const Method& method, const CallText& text) {
  MethodCall out = method.call();
  if (method.parameters.empty() && !text.arguments.empty()) {
    return wrong("{} takes no parameters; write '{}'", method.name, method.name);
  }
  std::vector<bool> given(out.values.size());
  for (const ArgumentText& argument : text.arguments) {
    LOCI_TRY(const size_t i, bind_parameter(method, argument));
    const Parameter& parameter = method.parameters[i];
    if (given[i]) return wrong("{} of {} is given twice; keep one", parameter.name, method.name);
    given[i] = true;
    Result<Value> value = parameter.read(argument.value);
    if (!value.ok()) {
      const std::vector<std::string> words(parameter.words.begin(), parameter.words.end());
      return wrong("{} of {} {} (default {}){}", parameter.name, method.name, value.error().message,
                   parameter.text(parameter.fallback), did_you_mean(argument.value, words));
    }
    out.values[i] = *std::move(value);
  }
  if (method.check != nullptr) {
    const Status consistent = method.check(out);
    if (!consistent.ok()) return wrong("in {}, {}", method.name, consistent.error().message);
  }
  return out;
}

Status check_scope(const Method& method, const Scope& scope) {
  if (method.granularity == Granularity::kModel && !scope.all()) {
    return wrong("{} decides for the whole model, so '{}' cannot be; leave the range out", method.name, scope.text());
  }
  if (method.granularity == Granularity::kLayer && !scope.heads.all()) {
    return wrong("{} decides for whole layers, so ':h{}' cannot be; leave the heads out", method.name,
                 scope.heads.text());
  }
  return {};
}

// One number inside every region that the ranges cut the numbers into.
std::vector<uint32_t> sample_ids(const std::vector<const IdSet*>& sets) {
  std::vector<uint32_t> out = {0};
  for (const IdSet* set : sets) {
    for (const IdRange& range : set->ranges()) {
      out.push_back(range.first);
      if (range.last != IdRange::kOpen) out.push_back(range.last + 1);
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace

class PlanBinder {
 public:
  explicit PlanBinder(const Registry& registry) : registry_(registry) {}

  Result<AttentionPlan> bind(std::string_view text, bool presets_allowed, std::string_view default_store = {}) {
    LOCI_TRY(const std::vector<ClauseText> clauses, parse_clauses(text));
    for (const ClauseText& clause : clauses) {
      if (!clause.stage.empty()) {
        LOCI_TRY(const Stage stage, bind_stage(clause.stage));
        LOCI_CHECK(bind_clause(stage, clause));
      } else {
        LOCI_CHECK(bind_bare(clause, presets_allowed));
      }
    }
    if (origin(Stage::kStore) == Origin::kNone && !default_store.empty()) {
      LOCI_TRY(const AttentionPlan store, PlanBinder(registry_).bind(default_store, false));
      const std::span<const Answer> answers = store.answers(Stage::kStore);
      plan_.list(Stage::kStore).assign(answers.begin(), answers.end());
    }
    LOCI_CHECK(check_overlaps());
    LOCI_CHECK(check_exclusions());
    plan_.normalize();
    return std::move(plan_);
  }

 private:
  enum class Origin : uint8_t { kNone, kPreset, kClause };

  Origin& origin(Stage stage) { return origins_[static_cast<size_t>(stage)]; }

  // A method or preset on its own: `snapkv(budget=512)`, `kv4`, `dense`.
  Status bind_bare(const ClauseText& clause, bool presets_allowed) {
    const AnswerText& answer = clause.answers[0];
    const std::string& name = answer.calls[0].name;
    const Method* method = registry_.find(name);
    if (method == &kDense) return bind_bare_dense(answer);
    if (method == nullptr) {
      const Preset* preset = registry_.find_preset(name);
      if (preset == nullptr || !presets_allowed) {
        return wrong("there is no method or preset '{}'{}", printable(name),
                     guess_or(name, registry_.names(), "'loci methods' lists what there is"));
      }
      if (answer.calls.size() > 1 || !answer.calls[0].arguments.empty() || !answer.scope.all()) {
        return wrong("'{}' is a preset and takes neither parameters nor a range; write out what it stands for: '{}'",
                     name, preset->plan);
      }
      return bind_preset(*preset);
    }
    const std::vector<std::string> stages = stage_names(method->stages);
    if (stages.size() != 1) {
      return wrong("'{}' answers {}; say which, as in '{}={}'", name, enumerate(stages), stages[0], name);
    }
    LOCI_TRY(const Stage stage, bind_stage(stages[0]));
    return bind_clause(stage, clause);
  }

  Status bind_bare_dense(const AnswerText& answer) const {
    if (answer.calls.size() == 1 && answer.calls[0].arguments.empty() && answer.scope.all()) return {};
    return wrong("'dense' on its own takes no parameters, '+' or range; name the stage, as in 'retain=dense@0-3'");
  }

  Status bind_preset(const Preset& preset) {
    Result<AttentionPlan> parsed = PlanBinder(registry_).bind(preset.plan, false);
    if (!parsed.ok()) return std::move(parsed).error();
    for (const Stage stage : kStages) {
      if (parsed->dense(stage) || origin(stage) == Origin::kClause) continue;
      if (origin(stage) == Origin::kPreset) {
        return wrong("two presets answer '{}'; use one of them, or write the clause out", to_string(stage));
      }
      origin(stage) = Origin::kPreset;
      plan_.list(stage) = parsed->list(stage);
    }
    return {};
  }

  Status bind_clause(Stage stage, const ClauseText& clause) {
    if (origin(stage) == Origin::kClause) {
      return wrong("'{}' is given twice; put the answers into one clause, apart by commas and ranges",
                   to_string(stage));
    }
    origin(stage) = Origin::kClause;
    plan_.list(stage).clear();  // what a preset said
    for (const AnswerText& text : clause.answers) {
      LOCI_TRY(Answer answer, bind_answer(stage, text));
      plan_.list(stage).push_back(std::move(answer));
    }
    return {};
  }

  Result<Answer> bind_answer(Stage stage, const AnswerText& text) {
    Answer out;
    out.scope = text.scope;
    if (text.calls.size() > 1 && !joins(stage)) {
      return wrong("'+' joins methods in retain and mix alone, but stands in '{}'; name one method per range",
                   to_string(stage));
    }
    for (const CallText& call : text.calls) {
      LOCI_TRY(const Method* method, bind_method(stage, call.name));
      LOCI_CHECK(check_scope(*method, text.scope));
      LOCI_TRY(MethodCall bound, bind_call(*method, call));
      if (method == &kDense) {
        if (text.calls.size() > 1) return wrong("'dense' joined with another method is still dense; drop one of them");
        continue;
      }
      out.phases = out.phases & (stage == Stage::kSelect ? method->phases : kBothPhases);
      for (const MethodCall& other : out.calls) {
        if (other.method == method) return wrong("'{}' is joined with itself; keep one", method->name);
      }
      out.calls.push_back(std::move(bound));
    }
    LOCI_CHECK(bind_phase(stage, text, out));
    return out;
  }

  Result<const Method*> bind_method(Stage stage, const std::string& name) {
    const Method* method = registry_.find(name);
    const std::string all = "'" + std::string(to_string(stage)) + "' takes " + enumerate(registry_.names(stage), "or");
    if (method == nullptr) {
      return wrong("'{}' has no method '{}'{}", to_string(stage), printable(name),
                   guess_or(name, registry_.names(stage), all));
    }
    if (method->stages.has(stage)) return method;
    if (method == &kDense) return wrong("'dense' does not answer '{}'; {}", to_string(stage), all);
    const std::vector<std::string> stages = stage_names(method->stages);
    return wrong("'{}' answers '{}', not '{}'; write '{}={}'", name, enumerate(stages), to_string(stage), stages[0],
                 name);
  }

  static Status bind_phase(Stage stage, const AnswerText& text, Answer& out) {
    if (text.phase.empty()) return {};
    if (stage != Stage::kSelect) {
      return wrong("'{}' holds for both phases, so '{}:' cannot stand in it; leave it out", to_string(stage),
                   printable(text.phase));
    }
    for (const Phase phase : kPhases) {
      if (to_string(phase) != text.phase) continue;
      if (!out.phases.has(phase)) {
        const Phase other = phase == Phase::kPrefill ? Phase::kDecode : Phase::kPrefill;
        return wrong("'{}' selects in {} alone; write '{}:{}'", text.calls[0].name, to_string(other), to_string(other),
                     text.calls[0].name);
      }
      out.phases = {phase};
      return {};
    }
    return wrong("there is no phase '{}'{}", printable(text.phase),
                 guess_or(text.phase, {"prefill", "decode"}, "the phases are prefill and decode"));
  }

  Status check_overlaps() {
    for (const Stage stage : kStages) {
      const std::vector<Answer>& answers = plan_.list(stage);
      for (size_t i = 0; i < answers.size(); ++i) {
        for (size_t j = i + 1; j < answers.size(); ++j) LOCI_CHECK(check_overlap(stage, answers[i], answers[j]));
      }
    }
    return {};
  }

  static Status check_overlap(Stage stage, const Answer& a, const Answer& b) {
    // An answer with a range is an exception from one without.
    if (!a.phases.meets(b.phases) || a.scope.all() != b.scope.all() || !a.scope.meets(b.scope)) return {};
    std::string where(to_string(stage));
    if (stage == Stage::kSelect) {
      where += fmt::format(" in {}",
                           to_string((a.phases & b.phases).has(Phase::kPrefill) ? Phase::kPrefill : Phase::kDecode));
    }
    if (!a.scope.all()) where += fmt::format(" on layer {}", *a.scope.layers.first_common(b.scope.layers));
    const auto name = [](const Answer& answer) {
      return answer.calls.empty() ? "dense" : answer.calls[0].method->name;
    };
    return wrong("'{}' and '{}' both answer {}; give them ranges apart{}{}", name(a), name(b), where,
                 stage == Stage::kSelect ? " or different phases" : "", joins(stage) ? " or join them with '+'" : "");
  }

  Status check_exclusions() {
    std::vector<const IdSet*> layers, heads;
    for (const Stage stage : kStages) {
      for (const Answer& answer : plan_.list(stage)) {
        layers.push_back(&answer.scope.layers);
        heads.push_back(&answer.scope.heads);
      }
    }
    const std::vector<uint32_t> head_ids = sample_ids(heads);
    for (const uint32_t layer : sample_ids(layers)) {
      for (const uint32_t head : head_ids) LOCI_CHECK(check_exclusions_at(layer, head, head_ids));
    }
    return {};
  }

  Status check_exclusions_at(uint32_t layer, uint32_t head, const std::vector<uint32_t>& query_heads) {
    std::vector<const Method*> here;
    const auto add = [&](Stage stage, Phase phase, uint32_t h) {
      const Answer* answer = find(stage, phase, layer, h);
      if (answer == nullptr) return;
      for (const MethodCall& call : answer->calls) {
        if (std::find(here.begin(), here.end(), call.method) == here.end()) here.push_back(call.method);
      }
    };
    for (const Stage stage : {Stage::kRetain, Stage::kStore, Stage::kSelect}) {
      for (const Phase phase : kPhases) add(stage, phase, head);
    }
    // A KV head belongs to some query heads; which, only the model knows.
    for (const uint32_t query_head : query_heads) add(Stage::kMix, Phase::kPrefill, query_head);
    for (size_t i = 0; i < here.size(); ++i) {
      for (size_t j = i + 1; j < here.size(); ++j) {
        const auto why = Registry::exclusion(*here[i], *here[j]);
        if (why) {
          return wrong("'{}' and '{}' do not compose (layer {}): {}; drop one of them or give them layers apart",
                       here[i]->name, here[j]->name, layer, *why);
        }
      }
    }
    return {};
  }

  // As AttentionPlan::find, before the answers are in order.
  const Answer* find(Stage stage, Phase phase, uint32_t layer, uint32_t head) {
    const Answer* found = nullptr;
    for (const Answer& answer : plan_.list(stage)) {
      if (!answer.phases.has(phase) || !answer.scope.contains(layer, head)) continue;
      if (found == nullptr || found->scope.all()) found = &answer;
    }
    return found;
  }

  const Registry& registry_;
  AttentionPlan plan_;
  std::array<Origin, kStages.size()> origins_{};
};

Result<AttentionPlan> AttentionPlan::parse(std::string_view text, const Registry& registry) {
  return PlanBinder(registry).bind(text, true);
}

Result<AttentionPlan> AttentionPlan::parse_for_model(std::string_view text, std::string_view default_store) {
  return PlanBinder(built_in_registry()).bind(text, true, default_store);
}

}  // namespace loci

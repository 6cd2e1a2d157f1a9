#include "attention/registry/registry.h"

#include <algorithm>

#include "attention/plan/plan.h"

namespace loci {
namespace {

bool is_name(std::string_view name) {
  if (name.empty() || name[0] < 'a' || name[0] > 'z') return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; });
}

bool has_parameter(const Method& method, std::string_view name) {
  return std::any_of(method.parameters.begin(), method.parameters.end(),
                     [&](const Parameter& p) { return p.name == name && p.kind == ParameterKind::kInteger; });
}

class Examination {
 public:
  explicit Examination(const Registry& registry) : registry_(registry) {}

  std::vector<std::string> run() {
    for (const Method* method : registry_.methods()) examine(*method);
    for (const Preset& preset : registry_.presets()) examine(preset);
    return std::move(found_);
  }

 private:
  template <typename... Args>
  void note(std::string_view subject, fmt::format_string<Args...> format, Args&&... args) {
    found_.push_back(fmt::format("{}: {}", subject, fmt::format(format, std::forward<Args>(args)...)));
  }

  size_t count(std::string_view name) const {
    const auto names = registry_.names();
    return static_cast<size_t>(std::count(names.begin(), names.end(), name));
  }

  void examine(const Method& m) {
    if (!is_name(m.name)) note(m.name, "its name must be lower-case letters, digits and '-', beginning with a letter");
    if (count(m.name) > 1) note(m.name, "the name is given twice");
    if (m.stages.empty()) note(m.name, "it answers no stage");
    if (m.summary.empty()) note(m.name, "it has no summary");
    const bool builtin_read = &m == &kDense;
    if (m.citation.empty() && !builtin_read && !m.stages.has(Stage::kStore)) note(m.name, "it cites nothing");
    if (m.stages.has(Stage::kSelect) && m.phases.empty()) note(m.name, "it selects in no phase");
    if (!builtin_read) examine_makers(m);
    for (const Parameter& p : m.parameters) examine(m, p);
    for (const Tokens& tokens : {m.cell, m.tile, m.lookback}) {
      for (const std::string_view name : tokens.times) {
        if (!name.empty() && !has_parameter(m, name)) note(m.name, "it has no whole-number parameter '{}'", name);
      }
    }
    for (const Exclusion& e : m.excludes) {
      if (registry_.find(e.method) == nullptr) note(m.name, "it excludes '{}', which does not exist", e.method);
      if (e.why.empty()) note(m.name, "it excludes '{}' without a reason", e.method);
    }
    for (const Waiver& w : m.waivers) {
      if (w.why.empty()) note(m.name, "it waives '{}' without a reason", to_string(w.check));
    }
    if (m.check != nullptr && !m.check(m.call()).ok()) note(m.name, "its defaults contradict each other");
  }

  void examine_makers(const Method& m) {
    const auto expect = [&](Stage stage, bool made) {
      if (m.stages.has(stage) != made) {
        note(m.name, "it {} '{}', but {} how it is made", made ? "does not answer" : "answers", to_string(stage),
             made ? "says" : "does not say");
      }
    };
    expect(Stage::kRetain, m.make_retain != nullptr);
    expect(Stage::kStore, m.codec.has_value());
    expect(Stage::kSelect, m.make_select != nullptr);
    expect(Stage::kMix, m.make_mix != nullptr);
  }

  void examine(const Method& m, const Parameter& p) {
    if (!is_name(p.name)) note(m.name, "the name of parameter '{}' is none", p.name);
    if (p.meaning.empty()) note(m.name, "parameter '{}' has no meaning", p.name);
    const bool twice = std::count_if(m.parameters.begin(), m.parameters.end(),
                                     [&](const Parameter& other) { return other.name == p.name; }) > 1;
    if (twice) note(m.name, "parameter '{}' is given twice", p.name);
    if (p.options_tag != m.parameters.front().options_tag) {
      note(m.name, "parameter '{}' belongs to another struct", p.name);
    }
    const bool index =
        p.kind != ParameterKind::kChoice ||
        (std::get<int64_t>(p.fallback) >= 0 && std::get<int64_t>(p.fallback) < static_cast<int64_t>(p.words.size()));
    const Result<Value> back = index ? p.read(p.text(p.fallback)) : Result<Value>(Error{});
    if (!back.ok() || *back != p.fallback) note(m.name, "the default of parameter '{}' is out of its range", p.name);
  }

  void examine(const Preset& p) {
    if (!is_name(p.name)) note(p.name, "the name of a preset must be lower-case letters, digits and '-'");
    if (count(p.name) > 1) note(p.name, "the name is given twice");
    const Result<AttentionPlan> plan = AttentionPlan::parse(p.plan, registry_);
    if (!plan.ok()) note(p.name, "{}", plan.error().message);
    if (p.summary.empty()) note(p.name, "it has no summary");
  }

  const Registry& registry_;
  std::vector<std::string> found_;
};

}  // namespace

const Method* Registry::find(std::string_view name) const {
  const auto at = std::find_if(methods_.begin(), methods_.end(), [&](const Method* m) { return m->name == name; });
  return at == methods_.end() ? nullptr : *at;
}

const Preset* Registry::find_preset(std::string_view name) const {
  const auto at = std::find_if(presets_.begin(), presets_.end(), [&](const Preset& p) { return p.name == name; });
  return at == presets_.end() ? nullptr : &*at;
}

std::vector<std::string> Registry::names(Stage stage) const {
  std::vector<std::string> out;
  for (const Method* method : methods_) {
    if (method->stages.has(stage)) out.emplace_back(method->name);
  }
  return out;
}

std::vector<std::string> Registry::names() const {
  std::vector<std::string> out;
  for (const Method* method : methods_) out.emplace_back(method->name);
  for (const Preset& preset : presets_) out.emplace_back(preset.name);
  return out;
}

std::optional<std::string_view> Registry::exclusion(const Method& a, const Method& b) {
  for (const Exclusion& e : a.excludes) {
    if (e.method == b.name) return e.why;
  }
  for (const Exclusion& e : b.excludes) {
    if (e.method == a.name) return e.why;
  }
  return std::nullopt;
}

std::vector<std::string> Registry::problems() const { return Examination(*this).run(); }

}  // namespace loci

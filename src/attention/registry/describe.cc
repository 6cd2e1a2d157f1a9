#include "attention/registry/describe.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace loci {
namespace {

using Json = nlohmann::ordered_json;

template <typename E, size_t N>
std::vector<std::string> names_of(Set<E> set, const std::array<E, N>& all) {
  std::vector<std::string> out;
  for (const E member : all) {
    if (set.has(member)) out.emplace_back(to_string(member));
  }
  return out;
}

constexpr std::array kRequestData = {RequestData::kTotalLength, RequestData::kSeed, RequestData::kTask,
                                     RequestData::kSpans};

std::string_view to_string(Granularity granularity) {
  constexpr std::string_view kNames[] = {"head", "layer", "model"};
  return kNames[static_cast<size_t>(granularity)];
}

std::string_view to_string(ParameterKind kind) {
  constexpr std::string_view kNames[] = {"integer", "number", "flag", "choice", "text"};
  return kNames[static_cast<size_t>(kind)];
}

struct Conflict {
  std::string_view with;
  std::string_view why;
};

// With every method that either side excludes.
std::vector<Conflict> conflicts(const Registry& registry, const Method& method) {
  std::vector<Conflict> out;
  for (const Method* other : registry.methods()) {
    if (other == &method) continue;
    if (const auto why = Registry::exclusion(method, *other)) out.push_back({other->name, *why});
  }
  return out;
}

std::string line(std::string_view title, std::string_view text) {
  return text.empty() ? std::string() : fmt::format("{:<13}{}\n", title, text);
}

std::string parameter_lines(const Method& method) {
  std::string out;
  for (const Parameter& p : method.parameters) {
    const std::string unit = p.unit.empty() ? std::string() : fmt::format(" {}", p.unit);
    out += fmt::format("  {} = {}{}: {}\n      {}\n", p.name, p.text(p.fallback), unit, p.meaning, p.range());
  }
  return out.empty() ? out : "\nparameters (name = default)\n" + out;
}

Json value_json(const Parameter& parameter, const Value& value) {
  switch (parameter.kind) {
    case ParameterKind::kInteger:
      return std::get<int64_t>(value);
    case ParameterKind::kNumber:
      // JSON has no infinity.
      if (std::isinf(std::get<double>(value))) return parameter.text(value);
      return std::get<double>(value);
    case ParameterKind::kFlag:
      return std::get<bool>(value);
    default:
      return parameter.text(value);
  }
}

Json parameter_json(const Parameter& p) {
  Json out{{"name", p.name}, {"type", to_string(p.kind)}, {"default", value_json(p, p.fallback)}};
  if (p.kind == ParameterKind::kInteger) {
    out["least"] = static_cast<int64_t>(p.least);
    out["most"] = static_cast<int64_t>(p.most);
    out["step"] = p.step;
  } else if (p.kind == ParameterKind::kNumber) {
    out["least"] = p.least;
    if (!std::isinf(p.most)) out["most"] = p.most;
  } else if (p.kind == ParameterKind::kChoice) {
    out["words"] = p.words;
  }
  if (!p.unit.empty()) out["unit"] = p.unit;
  out["meaning"] = p.meaning;
  return out;
}

}  // namespace

std::string where_it_answers(const Method& method) {
  std::string out = fmt::format("{}", fmt::join(names_of(method.stages, kStages), ", "));
  if (method.stages.has(Stage::kSelect) && method.phases != kBothPhases) {
    out += fmt::format(" in {}", fmt::join(names_of(method.phases, kPhases), ", "));
  }
  return out;
}

std::string defaults_of(const Method& method) {
  std::string out;
  for (const Parameter& p : method.parameters) {
    out += fmt::format("{}{}={}", out.empty() ? "" : ", ", p.name, p.text(p.fallback));
  }
  return out;
}

std::string method_page(const Registry& registry, const Method& method) {
  std::string out = fmt::format("{}: {}\n\n", method.name, method.summary);
  out += line("stage", where_it_answers(method));
  out += line("decides per", to_string(method.granularity));
  out += line("paper", method.citation);
  out += line("dense when", method.dense_when);
  if (method.cell.text() != "1") out += line("cell", method.cell.text() + " tokens");
  if (method.tile.text() != "1") out += line("tile", method.tile.text() + " rows share a selection");
  if (method.lookback.text() != "0") out += line("lookback", method.lookback.text() + " rows at the prompt's end");
  out += line("profile", method.profile.empty() ? "" : fmt::format("of the model, for {}", method.profile));
  out += line("request data", fmt::format("{}", fmt::join(names_of(method.request, kRequestData), ", ")));
  out += parameter_lines(method);
  const std::vector<Conflict> list = conflicts(registry, method);
  if (list.empty()) {
    out += "\ncomposes with every other method\n";
  } else {
    out += "\ndoes not compose with\n";
    for (const Conflict& c : list) out += fmt::format("  {}: {}\n", c.with, c.why);
  }
  if (!method.waivers.empty()) out += "\nby its nature cannot hold\n";
  for (const Waiver& w : method.waivers) out += fmt::format("  {}: {}\n", to_string(w.check), w.why);
  return out;
}

Json method_json(const Registry& registry, const Method& method) {
  Json parameters = Json::array(), excludes = Json::array(), waivers = Json::array();
  for (const Parameter& p : method.parameters) parameters.push_back(parameter_json(p));
  for (const Conflict& c : conflicts(registry, method)) excludes.push_back({{"method", c.with}, {"why", c.why}});
  for (const Waiver& w : method.waivers) waivers.push_back({{"check", to_string(w.check)}, {"why", w.why}});
  Json out{{"name", method.name},
           {"summary", method.summary},
           {"stages", names_of(method.stages, kStages)},
           {"granularity", to_string(method.granularity)},
           {"parameters", parameters},
           {"cell", method.cell.text()},
           {"tile", method.tile.text()},
           {"lookback", method.lookback.text()},
           {"citation", method.citation},
           {"dense_when", method.dense_when},
           {"profile", method.profile},
           {"request_data", names_of(method.request, kRequestData)},
           {"excludes", excludes},
           {"waivers", waivers}};
  if (method.stages.has(Stage::kSelect)) out["phases"] = names_of(method.phases, kPhases);
  return out;
}

Json registry_json(const Registry& registry) {
  Json methods = Json::array(), presets = Json::array();
  for (const Method* method : registry.methods()) methods.push_back(method_json(registry, *method));
  for (const Preset& p : registry.presets()) {
    presets.push_back({{"name", p.name}, {"plan", p.plan}, {"summary", p.summary}});
  }
  return {{"methods", methods}, {"presets", presets}};
}

}  // namespace loci

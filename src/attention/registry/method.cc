#include "attention/registry/method.h"

#include <algorithm>

namespace loci {

std::string_view to_string(Stage stage) {
  constexpr std::string_view kNames[] = {"retain", "store", "select", "mix"};
  return kNames[static_cast<size_t>(stage)];
}

std::string_view to_string(Phase phase) { return phase == Phase::kPrefill ? "prefill" : "decode"; }

std::string_view to_string(RequestData data) {
  constexpr std::string_view kNames[] = {"total length", "seed", "task", "spans"};
  return kNames[static_cast<size_t>(data)];
}

std::string_view to_string(Conformance check) {
  constexpr std::string_view kNames[] = {"degenerate setting is dense",
                                         "chunk sizes agree",
                                         "batched equals alone",
                                         "thread counts agree",
                                         "every codec",
                                         "fork, trim, save and load",
                                         "prefix hit equals recompute",
                                         "served",
                                         "admission holds",
                                         "prints back",
                                         "replay agrees"};
  return kNames[static_cast<size_t>(check)];
}

const Value& MethodCall::value(std::string_view parameter) const {
  size_t i = 0;
  while (i < values.size() && method->parameters[i].name != parameter) ++i;
  LOCI_ASSERT(i < values.size(), "a registry line names parameters that it declares");
  return values[i];
}

uint64_t Tokens::of(const MethodCall& call) const {
  constexpr uint64_t kMost = uint64_t{1} << 31;  // far beyond any context, and its products do not overflow
  uint64_t out = count;
  for (const std::string_view name : times) {
    if (!name.empty()) out = std::min(out * static_cast<uint64_t>(std::get<int64_t>(call.value(name))), kMost);
  }
  return out;
}

std::string Tokens::text() const {
  std::string out = count == 1 && !times[0].empty() ? std::string() : fmt::format("{}", count);
  for (const std::string_view name : times) {
    if (!name.empty()) out += fmt::format("{}{}", out.empty() ? "" : " x ", name);
  }
  return out;
}

MethodCall Method::call() const {
  MethodCall out{this, {}};
  for (const Parameter& parameter : parameters) out.values.push_back(parameter.fallback);
  return out;
}

}  // namespace loci

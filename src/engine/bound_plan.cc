#include "engine/bound_plan.h"

namespace loci {
namespace {

// "0,1|2;" for each layer whose heads do not all share one table.
std::string text_of_classes(std::span<const LayerShape> layers) {
  std::string out;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].classes.size() < 2) continue;
    out += fmt::format(";{}:", i);
    for (const std::vector<KvHead>& heads : layers[i].classes) {
      for (const KvHead head : heads) out += fmt::format("{},", head.value);
      out += '|';
    }
  }
  return out;
}

}  // namespace

BoundPlan::BoundPlan(PlanLayout made, PagePool& pool)
    : layout(std::move(made)),
      cache(layout.layers, pool),
      canonical(layout.attention.canonical()),
      prefix_key(layout.attention.prompt_part().canonical() + text_of_classes(layout.layers)),
      prefix_data(layout.attention.request_data()) {}

}  // namespace loci

#include "attention/retain/head_ranking.h"

#include <algorithm>
#include <cmath>

namespace loci {

Result<std::vector<double>> by_kv_head(const Profile& profile, const std::string& table, const ModelShape& model) {
  LOCI_TRY(const std::span<const double> values, profile.table(table));
  const bool shaped = profile.layers == model.layers && values.size() == size_t{profile.layers} * profile.heads;
  if (!shaped || (profile.heads != model.kv_heads && profile.heads != model.query_heads)) {
    return fail(ErrorCode::kInvalidArgument,
                "profile '{}' counts {} layers of {} heads, but the model has {} of {} KV heads and {} query heads; "
                "make one with `loci calibrate`",
                profile.kind, profile.layers, profile.heads, model.layers, model.kv_heads, model.query_heads);
  }
  const size_t group = profile.heads / model.kv_heads;
  std::vector<double> out;
  for (size_t i = 0; i < values.size(); i += group)
    out.push_back(*std::max_element(values.begin() + static_cast<ptrdiff_t>(i),
                                    values.begin() + static_cast<ptrdiff_t>(i + group)));
  return out;
}

std::vector<uint32_t> ranked_heads(std::span<const double> values, std::span<const double> ties,
                                   const ModelShape& model) {
  std::vector<uint32_t> heads;
  for (uint32_t i = 0; i < model.layers * model.kv_heads; ++i) {
    if (model.open(LayerId(i / model.kv_heads))) heads.push_back(i);
  }
  std::stable_sort(heads.begin(), heads.end(), [&](uint32_t a, uint32_t b) {
    if (values[a] != values[b]) return values[a] > values[b];
    return !ties.empty() && ties[a] > ties[b];
  });
  return heads;
}

uint32_t nearest_count(double share, size_t heads) {
  return static_cast<uint32_t>(std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(heads)));
}

uint32_t count_from_above(double share, size_t heads) {
  // 0.14 * 50 is 7 and a rounding error.
  return static_cast<uint32_t>(std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(heads) - 1e-9));
}

}  // namespace loci

// Heads by the numbers of a profile: a table's values by KV head, and the heads that rank highest.
//
// Profiles count KV heads or query heads; a KV head has the highest value of its group. Ranks go over all layers that
// methods act on, together. Plain data; any thread.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "attention/stages/model_shape.h"
#include "io/profile.h"

namespace loci {

// The values of `table`, [layers * kv_heads]. kNotFound if there is none, kInvalidArgument if the profile counts other
// layers or heads than the model has.
Result<std::vector<double>> by_kv_head(const Profile& profile, const std::string& table, const ModelShape& model);

// The heads of open layers, highest value first; equal ones by `ties` (if there are any), then in order. Elements are
// layer * kv_heads + head.
std::vector<uint32_t> ranked_heads(std::span<const double> values, std::span<const double> ties,
                                   const ModelShape& model);

// A number of heads that a share stands for, of so many.
uint32_t nearest_count(double share, size_t heads);
uint32_t count_from_above(double share, size_t heads);

}  // namespace loci

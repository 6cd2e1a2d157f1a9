// The parsed --attention string: one typed answer per stage.
//
//   dense                    every entry is kept, stored as kv16, read by every query
//   store=kv8                the same, stored in 8 bits
//
// Clauses are separated by ';', stages by name. A plan prints back in canonical form, which is its key in logs and
// tables.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

struct AttentionPlan {
  KvCodec store = KvCodec::kKv16;

  // kInvalidArgument names the clause and what may stand in its place.
  static Result<AttentionPlan> parse(std::string_view text);
  std::string canonical() const;

  bool operator==(const AttentionPlan&) const = default;
};

}  // namespace loci

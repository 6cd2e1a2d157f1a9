// The parsed --attention string: one typed answer per stage, layer and head.
//
//   dense                                            every entry is kept, stored as kv16, read by every query
//   store=kv8                                        the same, stored in 8 bits
//   retain=A(x=1)@4-27; store=kv4; select=prefill:B,decode:C(k=1024)
//
// docs/attention-plans.md is the user's page; syntax.h has the grammar, registry/ the methods. A plan refers to the
// registry it was parsed with, which must outlive it. Values; any thread. Looking an answer up costs a few compares per
// answer of the stage: engines compile static answers once.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/plan/scope.h"
#include "attention/registry/registry.h"
#include "base/error.h"
#include "cache/ids.h"

namespace loci {

// What some layers and heads do in one stage.
struct Answer {
  Set<Phase> phases = kBothPhases;  // narrower in the stage select alone
  Scope scope;
  std::vector<MethodCall> calls;  // empty: dense. More than one in retain (the union is kept) and mix

  bool operator==(const Answer&) const = default;
};

// The shape of a model that a plan's ranges are checked against.
struct HeadCounts {
  uint32_t layers = 0;
  uint32_t kv_heads = 0;
  uint32_t query_heads = 0;
};

class AttentionPlan {
 public:
  AttentionPlan() = default;  // dense

  // kInvalidArgument is one sentence: what is wrong, and what to write in its place.
  static Result<AttentionPlan> parse(std::string_view text, const Registry& registry = built_in_registry());

  // The same for a model that has a store of its own, a plan such as "store=kv4" or nothing: it holds where `text` has
  // no store clause.
  static Result<AttentionPlan> parse_for_model(std::string_view text, std::string_view default_store);

  // One form per plan, with every parameter, which parses back to the same plan: the key in logs, files and tables.
  std::string canonical() const;
  // The same without the parameters that are at their default: for people.
  std::string brief() const;
  // 32 hexadecimal digits of the plan and of the revision of its form. Plans with equal ones are equal.
  std::string fingerprint() const;

  // The plan without what cannot change a prompt's entries: selections in decode, retention after the prompt. Prompts
  // read under plans whose prompt parts are equal may share their pages.
  AttentionPlan prompt_part() const;
  // What requests declare that the methods depend on.
  Set<RequestData> request_data() const;
  // The grid of tokens that chunks of a phase are whole cells of: the least common multiple of the methods' cells.
  uint64_t cell(Phase phase) const;
  // The longest prompt whose chunks need not be whole cells, because no method with cells decides anything in it.
  uint64_t idle_until() const;
  // Rows that a prompt's last chunk must hold at least.
  uint64_t lookback() const;

  // The calls that answer for a head; none: dense.
  std::span<const MethodCall> retain(LayerId layer, KvHead head) const;
  const MethodCall* select(Phase phase, LayerId layer, KvHead head) const;  // null: dense
  std::span<const MethodCall> mix(LayerId layer, QueryHead head) const;
  KvCodec codec(LayerId layer) const;

  // All answers of a stage: those without a range first, then by layer and head.
  std::span<const Answer> answers(Stage stage) const { return answers_[static_cast<size_t>(stage)]; }
  bool dense(Stage stage) const { return answers(stage).empty(); }

  // kInvalidArgument if a range names a layer or head that the model lacks.
  Status check(const HeadCounts& model) const;

  bool operator==(const AttentionPlan&) const = default;

 private:
  friend class PlanBinder;

  std::vector<Answer>& list(Stage stage) { return answers_[static_cast<size_t>(stage)]; }
  const Answer* find(Stage stage, Phase phase, uint32_t layer, uint32_t head) const;
  std::string print(bool every_parameter) const;
  void normalize();

  std::array<std::vector<Answer>, kStages.size()> answers_;
};

}  // namespace loci

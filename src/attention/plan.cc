#include "attention/plan.h"

namespace loci {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

Status apply_clause(std::string_view clause, AttentionPlan& plan, bool& stored) {
  if (clause == "dense") return {};
  const size_t equals = clause.find('=');
  const std::string_view stage = trimmed(clause.substr(0, equals));
  if (equals == std::string_view::npos || stage != "store") {
    return fail(ErrorCode::kInvalidArgument,
                "attention plan: '{}' is not understood; use 'dense' or 'store=kv16|kv8|kv4'", clause);
  }
  if (stored) return fail(ErrorCode::kInvalidArgument, "attention plan: 'store' is given twice; name one codec");
  const std::string_view name = trimmed(clause.substr(equals + 1));
  const auto codec = kv_codec_from_name(name);
  if (!codec)
    return fail(ErrorCode::kInvalidArgument, "attention plan: unknown store '{}'; use kv16, kv8 or kv4", name);
  plan.store = *codec;
  stored = true;
  return {};
}

}  // namespace

Result<AttentionPlan> AttentionPlan::parse(std::string_view text) {
  AttentionPlan plan;
  bool stored = false;
  if (trimmed(text).empty()) return fail(ErrorCode::kInvalidArgument, "attention plan: it is empty; use 'dense'");
  while (!text.empty()) {
    const size_t end = text.find(';');
    const std::string_view clause = trimmed(text.substr(0, end));
    if (!clause.empty()) LOCI_CHECK(apply_clause(clause, plan, stored));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return plan;
}

std::string AttentionPlan::canonical() const {
  if (store == KvCodec::kKv16) return "dense";
  return "store=" + std::string(to_string(store));
}

}  // namespace loci

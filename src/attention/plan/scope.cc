#include "attention/plan/scope.h"

#include <fmt/format.h>

#include <algorithm>

namespace loci {

IdSet::IdSet(std::vector<IdRange> ranges) {
  std::sort(ranges.begin(), ranges.end());
  for (const IdRange& range : ranges) {
    const bool joins =
        !ranges_.empty() && (ranges_.back().last == IdRange::kOpen || uint64_t{ranges_.back().last} + 1 >= range.first);
    if (joins) {
      ranges_.back().last = std::max(ranges_.back().last, range.last);
    } else {
      ranges_.push_back(range);
    }
  }
  if (ranges_.size() == 1 && ranges_[0] == IdRange{}) ranges_.clear();
}

bool IdSet::contains(uint32_t id) const {
  if (all()) return true;
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const IdRange& r) { return r.first <= id && id <= r.last; });
}

std::optional<uint32_t> IdSet::first_common(const IdSet& other) const {
  const std::vector<IdRange> everything = {IdRange{}};
  const auto& mine = all() ? everything : ranges_;
  const auto& theirs = other.all() ? everything : other.ranges_;
  for (size_t i = 0, j = 0; i < mine.size() && j < theirs.size();) {
    const uint32_t first = std::max(mine[i].first, theirs[j].first);
    if (first <= std::min(mine[i].last, theirs[j].last)) return first;
    mine[i].last < theirs[j].last ? ++i : ++j;
  }
  return std::nullopt;
}

uint32_t IdSet::highest() const {
  if (all()) return 0;
  const IdRange& last = ranges_.back();
  return last.last == IdRange::kOpen ? last.first : last.last;
}

std::string IdSet::text() const {
  std::string out;
  for (const IdRange& range : ranges_) {
    out += fmt::format("{}{}", out.empty() ? "" : ",", range.first);
    if (range.last == IdRange::kOpen) {
      out += "-";
    } else if (range.last != range.first) {
      out += fmt::format("-{}", range.last);
    }
  }
  return out;
}

std::string Scope::text() const {
  if (all()) return {};
  return fmt::format("@{}{}{}", layers.text(), heads.all() ? "" : ":h", heads.text());
}

}  // namespace loci

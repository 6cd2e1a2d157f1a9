#include "attention/stages/sequence_state.h"

#include <algorithm>

namespace loci {

std::span<const std::byte> SequenceState::read(const Key& key) const {
  const auto found = arrays_.find(key);
  if (found == arrays_.end()) return {};
  return *found->second.back().data;
}

std::span<std::byte> SequenceState::write(const Key& key, size_t bytes, uint32_t tokens) {
  std::vector<Version>& versions = arrays_[key];
  while (!versions.empty() && versions.back().tokens >= tokens) versions.pop_back();
  // The version that held kRollback tokens ago is the oldest that a trim can ask for.
  const auto needed = std::find_if(versions.rbegin(), versions.rend(),
                                   [&](const Version& version) { return version.tokens + kRollback <= tokens; });
  if (needed != versions.rend()) versions.erase(versions.begin(), needed.base() - 1);
  versions.push_back({tokens, std::make_shared<std::vector<std::byte>>(bytes)});
  return *versions.back().data;
}

void SequenceState::trim(uint32_t tokens) {
  derived_.objects.clear();
  for (auto& [key, versions] : arrays_)
    std::erase_if(versions, [&](const Version& version) { return version.tokens > tokens; });
  std::erase_if(arrays_, [](const auto& entry) { return entry.second.empty(); });
}

uint64_t SequenceState::bytes() const {
  uint64_t bytes = 0;
  for (const auto& [key, versions] : arrays_) bytes += versions.back().data->size();
  return bytes;
}

std::vector<std::pair<SequenceState::Key, std::span<const std::byte>>> SequenceState::arrays() const {
  std::vector<std::pair<Key, std::span<const std::byte>>> out;
  for (const auto& [key, versions] : arrays_) out.emplace_back(key, *versions.back().data);
  return out;
}

}  // namespace loci

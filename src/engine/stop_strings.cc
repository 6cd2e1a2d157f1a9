#include "engine/stop_strings.h"

#include <utility>

namespace loci {

Result<StopStrings> StopStrings::make(std::span<const std::string> strings) {
  size_t bytes = 0;
  StopStrings stops;
  for (size_t i = 0; i < strings.size(); ++i) {
    const std::string& string = strings[i];
    if (string.empty()) return fail(ErrorCode::kInvalidArgument, "stop string {} is empty", i);
    if ((static_cast<uint8_t>(string[0]) & 0xc0) == 0x80) {
      return fail(ErrorCode::kInvalidArgument, "stop string {} begins within a UTF-8 character (byte 0x{:02x})", i,
                  static_cast<uint8_t>(string[0]));
    }
    bytes += string.size();
    if (bytes > kMaxBytes) {
      return fail(ErrorCode::kLimit, "the stop strings have more than {} bytes together, use fewer or shorter ones",
                  kMaxBytes);
    }
    stops.add(string, static_cast<uint32_t>(i));
  }
  stops.link();
  return stops;
}

void StopStrings::add(std::string_view string, uint32_t index) {
  lengths_.push_back(static_cast<uint32_t>(string.size()));
  uint32_t state = 0;
  for (const char c : string) {
    const auto byte = static_cast<uint8_t>(c);
    uint32_t next = child(state, byte);
    if (next == kNone) {
      next = static_cast<uint32_t>(states_.size());
      states_.push_back({.next_sibling = states_[state].first_child, .depth = states_[state].depth + 1, .byte = byte});
      states_[state].first_child = next;
      if (state == 0) root_[byte] = next;
    }
    state = next;
  }
  if (states_[state].match == kNone) states_[state].match = index;  // of equal strings the first counts
}

// Sets the failure links breadth first: a state's link is shallower, so it is done before.
void StopStrings::link() {
  std::vector<uint32_t> queue{0};
  for (size_t at = 0; at < queue.size(); ++at) {
    const uint32_t parent = queue[at];
    for (uint32_t s = states_[parent].first_child; s != kNone; s = states_[s].next_sibling) {
      states_[s].fail = parent == 0 ? 0 : step(states_[parent].fail, states_[s].byte);
      if (states_[s].match == kNone) states_[s].match = states_[states_[s].fail].match;
      queue.push_back(s);
    }
  }
}

uint32_t StopStrings::child(uint32_t state, uint8_t byte) const {
  if (state == 0) return root_[byte] == 0 ? kNone : root_[byte];
  uint32_t s = states_[state].first_child;
  while (s != kNone && states_[s].byte != byte) s = states_[s].next_sibling;
  return s;
}

uint32_t StopStrings::step(uint32_t state, uint8_t byte) const {
  for (;;) {
    const uint32_t next = child(state, byte);
    if (next != kNone) return next;
    if (state == 0) return 0;
    state = states_[state].fail;
  }
}

std::string StopStrings::push(std::string_view text) {
  if (match_) return {};
  const size_t held = held_.size();
  std::string shown = std::move(held_);
  held_.clear();
  shown.append(text);
  for (size_t i = 0; i < text.size(); ++i) {
    state_ = step(state_, static_cast<uint8_t>(text[i]));
    const uint32_t match = states_[state_].match;
    if (match == kNone) continue;
    match_ = match;
    shown.resize(held + i + 1 - lengths_[match]);
    return shown;
  }
  const size_t keep = states_[state_].depth;
  held_ = shown.substr(shown.size() - keep);
  shown.resize(shown.size() - keep);
  return shown;
}

std::string StopStrings::finish() {
  state_ = 0;
  return std::exchange(held_, {});
}

void StopStrings::reset() {
  held_.clear();
  state_ = 0;
  match_.reset();
}

}  // namespace loci

#include "eval/excerpt.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace loci {
namespace {

constexpr size_t kHead = 300;
constexpr size_t kTail = 700;
constexpr size_t kAround = 80;   // before and behind a needle
constexpr size_t kNeedle = 200;  // of a needle itself
constexpr size_t kMostNeedles = 8;
constexpr size_t kSmallGap = 60;  // not worth being left out

using Range = std::pair<size_t, size_t>;

size_t character_begin(std::string_view text, size_t at) {
  while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

std::vector<Range> shown(std::string_view prompt, const std::vector<std::string>& needles) {
  std::vector<Range> ranges{{0, kHead}};
  for (size_t i = 0; i < std::min(needles.size(), kMostNeedles); ++i) {
    const size_t at = prompt.find(needles[i]);
    if (at == std::string_view::npos) continue;
    ranges.emplace_back(at - std::min(at, kAround), at + std::min(needles[i].size(), kNeedle) + kAround);
  }
  ranges.emplace_back(prompt.size() - std::min(prompt.size(), kTail), prompt.size());
  std::sort(ranges.begin(), ranges.end());
  return ranges;
}

}  // namespace

std::string excerpt(std::string_view prompt, const std::vector<std::string>& needles) {
  std::string out;
  size_t done = 0;  // bytes shown or told of
  for (const auto& [first, last] : shown(prompt, needles)) {
    size_t begin = std::max(done, character_begin(prompt, first));
    if (begin - done <= kSmallGap) begin = done;
    const size_t end = character_begin(prompt, std::min(last, prompt.size()));
    if (end <= begin) continue;
    if (begin > done) out += fmt::format("\n[... {} bytes ...]\n", begin - done);
    out.append(prompt.substr(begin, end - begin));
    done = end;
  }
  return out;
}

}  // namespace loci

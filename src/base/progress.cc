#include "base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "base/quantity.h"

namespace loci {
namespace {

constexpr double kSecondsBetweenDraws = 0.1;
constexpr size_t kWidestBar = 30;
constexpr size_t kNarrowestBar = 5;

size_t terminal_columns(std::FILE* out) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::string amount_text(const ProgressState& s) {
  switch (s.unit) {
    case ProgressUnit::kBytes:
      return s.total > 0 ? fmt::format("{} / {}", format_bytes(s.done), format_bytes(s.total)) : format_bytes(s.done);
    case ProgressUnit::kTokens:
      return s.total > 0 ? fmt::format("{}/{} tokens", s.done, s.total) : fmt::format("{} tokens", s.done);
    case ProgressUnit::kShare:
      return {};
  }
  return {};
}

std::string rate_text(const ProgressState& s) {
  const uint64_t worked = s.done > s.begun ? s.done - s.begun : 0;
  if (s.seconds < 0.2 || worked == 0) return {};
  const double rate = static_cast<double>(worked) / s.seconds;
  std::string out;
  if (s.unit == ProgressUnit::kBytes) out = fmt::format("{}/s", format_bytes(static_cast<uint64_t>(rate)));
  if (s.unit == ProgressUnit::kTokens) out = fmt::format("{} tok/s", format_number(rate));
  if (s.total > s.done) {
    const double left = static_cast<double>(s.total - s.done) / rate;
    out += fmt::format("{}{} left", out.empty() ? "" : "  ", format_duration(std::ceil(left)));
  }
  return out;
}

std::string bar_text(double share, size_t width) {
  const size_t full = static_cast<size_t>(share * static_cast<double>(width));
  return fmt::format("[{}{}]", std::string(full, '#'), std::string(width - full, '.'));
}

}  // namespace

std::string progress_line(const ProgressState& state, size_t columns) {
  std::string tail;
  double share = 0;
  if (state.total > 0) {
    share = std::min(1.0, static_cast<double>(state.done) / static_cast<double>(state.total));
    tail = fmt::format("{:3.0f}%", std::floor(share * 100));
  }
  for (const std::string& part : {amount_text(state), rate_text(state)}) {
    if (!part.empty()) tail += fmt::format("{}{}", tail.empty() ? "" : "  ", part);
  }
  std::string line(state.label);
  const size_t fixed = line.size() + tail.size() + 4;  // "label [bar] tail"
  if (state.total > 0 && columns >= fixed + kNarrowestBar) {
    line += fmt::format(" {}", bar_text(share, std::min(kWidestBar, columns - fixed)));
  }
  line += fmt::format(" {}", tail);
  return line.substr(0, columns);
}

ProgressBar::ProgressBar(std::string label, ProgressUnit unit, std::FILE* out)
    : label_(std::move(label)), unit_(unit), out_(out), terminal_(isatty(fileno(out)) == 1) {}

ProgressBar::~ProgressBar() { clear(); }

void ProgressBar::update(uint64_t done, uint64_t total) {
  if (!terminal_) return;
  const double now = seconds_now();
  if (!started_) {
    started_ = true;
    start_ = now;
    begun_ = done;
  }
  if (drawn_ && now - last_draw_ < kSecondsBetweenDraws && done < total) return;
  last_draw_ = now;
  drawn_ = true;
  const ProgressState state{label_, unit_, done, total, begun_, now - start_};
  // One column stays free: some terminals wrap when the last one is written.
  fmt::print(out_, "\r\033[K{}", progress_line(state, terminal_columns(out_) - 1));
  std::fflush(out_);
}

void ProgressBar::clear() {
  if (!drawn_) return;
  drawn_ = false;
  fmt::print(out_, "\r\033[K");
  std::fflush(out_);
}

}  // namespace loci

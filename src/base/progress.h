// A progress bar on one line of a terminal: label, bar, share, amount, rate, time left. Silent where the stream is no
// terminal, so that logs and pipes stay clean. One thread at a time; an update costs a clock read, a redraw happens at
// most ten times a second.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace loci {

enum class ProgressUnit { kBytes, kTokens, kShare };

struct ProgressState {
  std::string_view label;
  ProgressUnit unit = ProgressUnit::kShare;
  uint64_t done = 0;
  uint64_t total = 0;  // 0: unknown, no bar
  uint64_t begun = 0;  // what was done before the clock started (a resumed download): no part of the rate
  double seconds = 0;
};

// The text of the bar in at most `columns` columns. The bar shrinks, then vanishes, in narrow terminals.
std::string progress_line(const ProgressState& state, size_t columns);

class ProgressBar {
 public:
  ProgressBar(std::string label, ProgressUnit unit, std::FILE* out);
  ~ProgressBar();  // clears the line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(uint64_t done, uint64_t total);
  // Erases the line, so that other text can be written; the next update draws again.
  void clear();

 private:
  std::string label_;
  ProgressUnit unit_;
  std::FILE* out_;
  bool terminal_;
  bool drawn_ = false;
  bool started_ = false;
  uint64_t begun_ = 0;
  double start_ = 0;
  double last_draw_ = 0;
};

}  // namespace loci

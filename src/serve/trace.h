// A timeline of passes and requests in Chrome's trace format, for chrome://tracing or ui.perfetto.dev. Events are
// written as they come; a file that was cut off still opens. Any thread.
#pragma once

#include <chrono>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>

#include "base/error.h"
#include "serve/answer.h"
#include "serve/engine_loop.h"

namespace loci {

class Trace final : public LoopListener {
 public:
  // kIo if the file cannot be written.
  static Result<std::unique_ptr<Trace>> open(const std::string& path);
  ~Trace() override;

  void on_pass(const Pass& pass) override;
  void on_answer(const std::string& id, const AnswerSummary& answer);

 private:
  using Clock = std::chrono::steady_clock;
  explicit Trace(std::FILE* file) : file_(file), start_(Clock::now()) {}
  long long micros(Clock::time_point at) const;
  void write(const std::string& event);

  std::mutex mutex_;
  std::FILE* file_;
  Clock::time_point start_;
};

}  // namespace loci

// What a command writes to and reads from, and the flag that tells it to stop. Results go to `out`; progress, summaries
// and errors go to `err`. With --json, `out` carries exactly one JSON document, whatever happens.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstdio>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/signals.h"
#include "loci/result.h"

namespace loci {

struct Console {
  std::FILE* in = stdin;
  std::FILE* out = stdout;
  std::FILE* err = stderr;
  Interrupts* interrupts = nullptr;

  bool cancelled() const { return interrupts->raised(); }
  const std::atomic<bool>* cancel_flag() const { return interrupts->flag(); }
  bool out_is_terminal() const;

  // Bytes to `out`, as they are, at once.
  void write(std::string_view text) const;
  // Bytes that a model or a file made: escaped if `out` is a terminal.
  void write_foreign(std::string_view text) const;
  // One JSON document and a newline; bytes that are no UTF-8 become U+FFFD.
  void write_json(const nlohmann::ordered_json& value) const;
  // "loci: MESSAGE" on `err`; with `json` also {"error": {"code", "message"}} on `out`. Returns the exit code.
  int report(const Error& error, bool json) const;

  template <typename... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) const {
    write(fmt::format(format, std::forward<Args>(args)...));
  }
  // A line for people on `err`.
  template <typename... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) const {
    write_note(fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  void write_note(const std::string& line) const;
};

inline constexpr int kExitOk = 0;
inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;

}  // namespace loci

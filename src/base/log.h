// Log lines on stderr for operators. Results go to stdout and errors come back as values; this is for what happens
// besides. Any thread may log.
#pragma once

#include <fmt/format.h>

#include <string_view>

#include "base/error.h"

namespace loci {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

Result<LogLevel> parse_log_level(std::string_view name);  // debug, info, warning, error, off

// Lines of `level` and above go to stderr from now on; coloured if it is a terminal. Before the first call: warnings.
void open_log(LogLevel level);
bool log_enabled(LogLevel level);
void write_log(LogLevel level, std::string_view message);

template <typename... Args>
void log_message(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) write_log(level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace loci

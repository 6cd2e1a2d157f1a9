#include "cli/console.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/terminal_text.h"

namespace loci {

bool Console::out_is_terminal() const {
  const int file = fileno(out);
  return file >= 0 && isatty(file) == 1;
}

void Console::write(std::string_view text) const {
  std::fwrite(text.data(), 1, text.size(), out);
  std::fflush(out);
}

void Console::write_foreign(std::string_view text) const {
  if (out_is_terminal()) {
    write(terminal_text(text, LineBreaks::kKeep));
  } else {
    write(text);
  }
}

void Console::write_json(const nlohmann::ordered_json& value) const {
  write(value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  write("\n");
}

int Console::report(const Error& error, bool json) const {
  note("loci: {}", terminal_text(error.message));
  if (json) write_json({{"error", {{"code", to_string(error.code)}, {"message", error.message}}}});
  return error.code == ErrorCode::kCancelled ? kExitInterrupted : kExitError;
}

void Console::write_note(const std::string& line) const {
  std::fwrite(line.data(), 1, line.size(), err);
  std::fputc('\n', err);
  std::fflush(err);
}

}  // namespace loci

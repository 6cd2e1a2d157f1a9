// Runs `loci` commands inside the test process, with files in place of the standard streams.
#pragma once

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/app.h"

namespace loci {

struct Outcome {
  int code = 0;
  std::string out;
  std::string err;

  // `out` as JSON. Of an outcome with a name it lives as long as that, so that a loop may run over its parts.
  nlohmann::json& json() const& {
    if (!parsed) parsed = nlohmann::json::parse(out, nullptr, false);
    return *parsed;
  }
  nlohmann::json json() && { return nlohmann::json::parse(out, nullptr, false); }
  mutable std::optional<nlohmann::json> parsed = {};
};

inline std::string content_of(std::FILE* file) {
  std::fflush(file);
  std::rewind(file);
  std::string text;
  char block[4096];
  for (size_t got = std::fread(block, 1, sizeof block, file); got > 0; got = std::fread(block, 1, sizeof block, file)) {
    text.append(block, got);
  }
  return text;
}

// `interrupted`: as if Ctrl-C had been pressed before the command began.
inline Outcome loci_run(const std::vector<std::string>& arguments, const std::string& input = "",
                        bool interrupted = false) {
  Interrupts interrupts;
  Console console{std::tmpfile(), std::tmpfile(), std::tmpfile(), &interrupts};
  std::fwrite(input.data(), 1, input.size(), console.in);
  std::rewind(console.in);
  if (interrupted) std::raise(SIGINT);
  Outcome outcome;
  outcome.code = run_cli(arguments, console);
  outcome.out = content_of(console.out);
  outcome.err = content_of(console.err);
  for (std::FILE* file : {console.in, console.out, console.err}) std::fclose(file);
  return outcome;
}

// A folder that goes away with the test.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "loci-cli-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  std::string file(const std::string& name, const std::string& content) const {
    const std::filesystem::path path = path_ / name;
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }
  std::string path(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline std::string needle_path() { return LOCI_SOURCE_DIR "/models/needle-14m-q8_0.gguf"; }

}  // namespace loci

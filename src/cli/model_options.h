// The options of every command that runs a model, in one place, and what they lead to: a local file and an engine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "cli/console.h"
#include "cli/parser.h"
#include "io/model_store.h"
#include "loci/loci.h"

namespace loci {

struct ModelOptions {
  std::string model;
  std::string attention = "dense";
  uint32_t context = 0;
  uint32_t chunk = 512;
  int threads = 0;
  std::string isa = "auto";
  std::string activations = "int16";
  uint64_t memory_limit_bytes = 0;
  bool no_prefix_cache = false;
};

void add_model_option(const Command& command, std::string& model);
// -m, --attention, --ctx, --chunk, --threads, --isa, --activations, --memory-limit, --no-prefix-cache.
void add_model_options(const Command& command, ModelOptions& options);
// A size such as 4G or 512M; anything else is a usage error.
Option add_bytes_option(const Command& command, const char* name, uint64_t& bytes, const char* help);

EngineOptions engine_options(const ModelOptions& options);

// Store options whose transfers draw a progress bar on `console.err` and stop on Ctrl-C. They refer to `console`.
StoreOptions store_options(const Console& console);
// The local file or folder of a known name or path; fetches known names on first use, with a progress bar.
Result<std::filesystem::path> find_model(const std::string& model, const Console& console);
// Loads with a progress bar; kCancelled on Ctrl-C.
Result<Engine> load_engine(const std::filesystem::path& path, EngineOptions options, const Console& console);

}  // namespace loci

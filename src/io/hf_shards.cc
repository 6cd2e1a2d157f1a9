#include "io/hf_shards.h"

#include <map>
#include <set>

#include "io/bounded_json.h"
#include "io/printable.h"

namespace loci {
namespace {

constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
// The largest published indices have some 100,000 tensors.
constexpr JsonLimits kIndexLimits = {.bytes = size_t{64} << 20, .depth = 4, .values = 1'000'000};

using WeightMap = std::map<std::string, std::string, std::less<>>;  // tensor -> shard

// A shard is a plain file name inside the folder.
bool is_shard_name(std::string_view name) {
  return name.ends_with(".safetensors") && !name.starts_with('.') &&
         name.find_first_of("/\\") == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

Result<WeightMap> read_index(const std::filesystem::path& path) {
  LOCI_TRY(const MappedFile file, MappedFile::open(path));
  LOCI_TRY(const nlohmann::json document, parse_bounded_json(file.text(), kIndex, kIndexLimits));
  const auto map = document.is_object() ? document.find("weight_map") : document.end();
  if (map == document.end() || !map->is_object()) {
    return fail(ErrorCode::kCorrupt, "{} has no object 'weight_map'", kIndex);
  }
  WeightMap weights;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() || !is_shard_name(shard.get_ref<const std::string&>())) {
      return fail(ErrorCode::kCorrupt,
                  "{} places tensor '{}' in {}, which is not the name of a .safetensors file in the same folder",
                  kIndex, printable(tensor),
                  shard.is_string() ? printable(shard.get_ref<const std::string&>()) : shard.type_name());
    }
    weights.emplace(tensor, shard.get<std::string>());
  }
  return weights;
}

Status add_file(const std::filesystem::path& path, SafetensorsFiles& out) {
  LOCI_TRY(MappedFile file, MappedFile::open(path));
  Result<std::vector<SafeTensor>> tensors = parse_safetensors(file.bytes());
  if (!tensors.ok()) {
    return fail(tensors.error().code, "cannot read '{}': {}", path.string(), tensors.error().message);
  }
  for (SafeTensor& tensor : *tensors) out.tensors.push_back(std::move(tensor));
  out.files.push_back(std::move(file));
  return {};
}

// Each shard must hold what the index says and nothing else.
Result<SafetensorsFiles> open_shards(const std::filesystem::path& folder, const WeightMap& weights) {
  std::set<std::string, std::less<>> shards;
  for (const auto& [tensor, shard] : weights) shards.insert(shard);
  SafetensorsFiles out;
  for (const std::string& shard : shards) {
    const size_t first = out.tensors.size();
    LOCI_CHECK(add_file(folder / shard, out));
    for (size_t i = first; i < out.tensors.size(); ++i) {
      const auto place = weights.find(out.tensors[i].name);
      if (place != weights.end() && place->second == shard) continue;
      return fail(ErrorCode::kCorrupt, "'{}' holds tensor '{}', which {} does not place there", printable(shard),
                  printable(out.tensors[i].name), kIndex);
    }
  }
  // Every tensor found is in the index, at most once: equal numbers mean that none is missing.
  if (out.tensors.size() == weights.size()) return out;
  return fail(ErrorCode::kCorrupt, "{} lists {} tensors, but its files hold {}", kIndex, weights.size(),
              out.tensors.size());
}

}  // namespace

Result<SafetensorsFiles> open_safetensors_files(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (std::filesystem::exists(folder / kSingle, ignored)) {
    SafetensorsFiles out;
    LOCI_CHECK(add_file(folder / kSingle, out));
    return out;
  }
  if (!std::filesystem::exists(folder / kIndex, ignored)) {
    return fail(ErrorCode::kNotFound, "'{}' holds neither {} nor {}", folder.string(), kSingle, kIndex);
  }
  LOCI_TRY(const WeightMap weights, read_index(folder / kIndex));
  return open_shards(folder, weights);
}

}  // namespace loci

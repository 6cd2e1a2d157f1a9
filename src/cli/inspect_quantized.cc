#include "cli/inspect_quantized.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/table.h"
#include "cli/terminal_text.h"

namespace loci {
namespace {

constexpr std::string_view kRecipe = "loci.quantize.";

struct LayerColumn {
  std::string name;
  const std::vector<double>* numbers;
};

std::vector<LayerColumn> layer_columns(const Metadata& metadata) {
  std::vector<LayerColumn> out;
  for (const auto& [key, value] : metadata.values()) {
    const auto* numbers = std::get_if<std::vector<double>>(&value);
    if (numbers != nullptr && key.starts_with(kLayerColumns)) {
      out.push_back({key.substr(std::string_view(kLayerColumns).size()), numbers});
    }
  }
  return out;
}

size_t layers_of(const std::vector<LayerColumn>& columns) {
  size_t layers = 0;
  for (const LayerColumn& column : columns) layers = std::max(layers, column.numbers->size());
  return layers;
}

std::string text_at(const Metadata& metadata, const char* key) {
  const Result<std::string> text = metadata.text_or(fmt::format("{}{}", kRecipe, key), "");
  return text.ok() ? terminal_text(*text) : "";
}

// Shares as percent; counts, exponents and dampings as they are, none as a dash.
std::string number_text(const LayerColumn& column, size_t layer) {
  if (layer >= column.numbers->size()) return "";
  const double x = (*column.numbers)[layer];
  if (column.name.starts_with("alpha.") || column.name.starts_with("damping.")) {
    return x < 0 ? "-" : fmt::format("{:.2f}", x);
  }
  const bool counts = column.name.starts_with("keys.") && column.name.ends_with("ed");
  if (counts) return fmt::format("{:.0f}", x);
  if (column.name == "keys.outliers") return fmt::format("{:.1f}x", x);
  return fmt::format("{:.2f}%", 100 * x);
}

}  // namespace

std::string quantization_text(const ModelFile& file) {
  const Metadata& metadata = file.metadata();
  if (text_at(metadata, "scheme").empty()) return "";
  std::string out =
      fmt::format("quantized to {} by\n  {}\n", text_at(metadata, "scheme"), text_at(metadata, "command"));
  for (const char* key : {"steps", "text", "notes"}) {
    const std::string text = text_at(metadata, key);
    if (!text.empty()) out += fmt::format("  {}: {}\n", key, text);
  }
  const std::vector<LayerColumn> columns = layer_columns(metadata);
  if (columns.empty()) return out;
  std::vector<TextTable::Column> titles{{"layer", true}};
  for (const LayerColumn& column : columns) titles.push_back({terminal_text(column.name), true});
  TextTable table(std::move(titles));
  for (size_t layer = 0; layer < layers_of(columns); ++layer) {
    std::vector<std::string> cells{fmt::format("{}", layer)};
    for (const LayerColumn& column : columns) cells.push_back(number_text(column, layer));
    table.add(std::move(cells));
  }
  return out + table.text();
}

nlohmann::ordered_json quantization_json(const ModelFile& file) {
  const Metadata& metadata = file.metadata();
  if (metadata.find("loci.quantize.scheme") == nullptr) return nullptr;
  nlohmann::ordered_json out;
  for (const auto& [key, value] : metadata.values()) {
    if (!key.starts_with(kRecipe)) continue;
    const std::string name = key.substr(kRecipe.size());
    if (const auto* text = std::get_if<std::string>(&value)) out[name] = *text;
    if (const auto* number = std::get_if<uint64_t>(&value)) out[name] = *number;
  }
  const std::vector<LayerColumn> columns = layer_columns(metadata);
  nlohmann::ordered_json& layers = out["layers"] = nlohmann::ordered_json::array();
  for (size_t layer = 0; layer < layers_of(columns); ++layer) {
    nlohmann::ordered_json row = nlohmann::ordered_json::object();
    for (const LayerColumn& column : columns) {
      if (layer < column.numbers->size()) row[column.name] = (*column.numbers)[layer];
    }
    layers.push_back(std::move(row));
  }
  return out;
}

}  // namespace loci

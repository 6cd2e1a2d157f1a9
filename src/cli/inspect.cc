// loci inspect: what a model file holds. Nothing is loaded; every text from the file is escaped.
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/quantity.h"
#include "cli/commands.h"
#include "cli/inspect_quantized.h"
#include "cli/model_options.h"
#include "cli/table.h"
#include "cli/terminal_text.h"
#include "io/model_file.h"

namespace loci {
namespace {

constexpr size_t kShownElements = 6;     // of a long array
constexpr size_t kShownCharacters = 80;  // of a long text

struct InspectCommand {
  std::string model;
  bool all = false;
  bool json = false;
};

struct DTypeTotal {
  uint64_t tensors = 0;
  uint64_t elements = 0;
  uint64_t bytes = 0;
};

uint64_t element_count(const Tensor& tensor) { return tensor.shape.empty() ? 0 : tensor.rows() * tensor.columns(); }

std::map<std::string, DTypeTotal> totals_by_dtype(const ModelFile& file) {
  std::map<std::string, DTypeTotal> totals;
  for (const Tensor& tensor : file.tensors()) {
    DTypeTotal& total = totals[std::string(info(tensor.dtype).name)];
    ++total.tensors;
    total.elements += element_count(tensor);
    total.bytes += tensor.data.size();
  }
  return totals;
}

std::string element_text(const std::string& value) {
  return fmt::format("'{}'", terminal_excerpt(value, kShownCharacters));
}
template <typename T>
std::string element_text(const T& value) {
  return fmt::format("{}", value);
}

template <typename T>
std::string value_text(const T& value) {
  return element_text(value);
}
template <typename T>
std::string value_text(const std::vector<T>& values) {
  std::string out = fmt::format("[{}] ", values.size());
  for (size_t i = 0; i < values.size() && i < kShownElements; ++i) {
    out += fmt::format("{}{}", i > 0 ? ", " : "", element_text(static_cast<T>(values[i])));
  }
  if (values.size() > kShownElements) out += ", ...";
  return out;
}

// Long arrays (vocabularies) as their length and first elements, unless everything is wanted.
template <typename T>
nlohmann::ordered_json value_json(const T& value, bool) {
  return value;
}
template <typename T>
nlohmann::ordered_json value_json(const std::vector<T>& values, bool all) {
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  for (size_t i = 0; i < values.size() && (all || i < kShownElements); ++i) array.push_back(static_cast<T>(values[i]));
  if (all) return array;
  return {{"length", values.size()}, {"first", array}};
}

std::string shape_text(const Tensor& tensor) {
  std::string out;
  for (const uint64_t extent : tensor.shape) out += fmt::format("{}{}", out.empty() ? "" : " x ", extent);
  return out;
}

nlohmann::ordered_json inspect_json(const std::filesystem::path& path, const ModelFile& file, bool all) {
  nlohmann::ordered_json out{{"path", path.string()}, {"format", file.format()}, {"file_bytes", file.file_bytes()}};
  nlohmann::ordered_json& metadata = out["metadata"] = nlohmann::ordered_json::object();
  for (const auto& [key, value] : file.metadata().values()) {
    metadata[key] = std::visit([&](const auto& v) { return value_json(v, all); }, value);
  }
  out["quantization"] = quantization_json(file);
  nlohmann::ordered_json& dtypes = out["dtypes"] = nlohmann::ordered_json::object();
  for (const auto& [name, total] : totals_by_dtype(file)) {
    dtypes[name] = {{"tensors", total.tensors}, {"elements", total.elements}, {"bytes", total.bytes}};
  }
  nlohmann::ordered_json& tensors = out["tensors"] = nlohmann::ordered_json::array();
  for (const Tensor& tensor : file.tensors()) {
    tensors.push_back({{"name", tensor.name},
                       {"dtype", info(tensor.dtype).name},
                       {"shape", tensor.shape},
                       {"bytes", tensor.data.size()}});
  }
  return out;
}

std::string metadata_table(const ModelFile& file) {
  TextTable table({{"key"}, {"value"}});
  for (const auto& [key, value] : file.metadata().values()) {
    if (key.starts_with(kLayerColumns)) continue;  // a table of their own
    table.add(
        {terminal_excerpt(key, kShownCharacters), std::visit([](const auto& v) { return value_text(v); }, value)});
  }
  return table.text();
}

std::string tensor_table(const ModelFile& file) {
  TextTable table({{"tensor"}, {"type"}, {"shape"}, {"size", true}});
  for (const Tensor& tensor : file.tensors()) {
    table.add({terminal_excerpt(tensor.name, kShownCharacters), std::string(info(tensor.dtype).name),
               shape_text(tensor), format_bytes(tensor.data.size())});
  }
  return table.text();
}

std::string dtype_table(const ModelFile& file) {
  TextTable table({{"type"}, {"tensors", true}, {"numbers", true}, {"size", true}, {"bits per number", true}});
  for (const auto& [name, total] : totals_by_dtype(file)) {
    const double bits =
        total.elements > 0 ? 8.0 * static_cast<double>(total.bytes) / static_cast<double>(total.elements) : 0;
    table.add({name, fmt::format("{}", total.tensors), fmt::format("{}", total.elements), format_bytes(total.bytes),
               format_number(bits)});
  }
  return table.text();
}

Result<int> inspect(const Console& console, const InspectCommand& command) {
  LOCI_TRY(const std::filesystem::path path, find_model(command.model, console));
  LOCI_TRY(const std::unique_ptr<ModelFile> file, open_model_file(path));
  if (command.json) {
    console.write_json(inspect_json(path, *file, command.all));
    return kExitOk;
  }
  console.print("{}\n{}, {}, {} tensors\n\n", terminal_text(path.string()), file->format(),
                format_bytes(file->file_bytes()), file->tensors().size());
  console.print("{}\n", metadata_table(*file));
  if (!file->tensors().empty()) console.print("{}\n{}", tensor_table(*file), dtype_table(*file));
  const std::string quantization = quantization_text(*file);
  if (!quantization.empty()) console.print("\n{}", quantization);
  return kExitOk;
}

}  // namespace

void add_inspect(const Command& app, Choice& choice) {
  auto options = std::make_shared<InspectCommand>();
  const Command command =
      app.add_command("inspect",
                      "Show what a model file holds: its metadata, its tensors with type, shape and size, and the\n"
                      "share of each number format; of a model that `loci quantize` made, also the recipe and what it\n"
                      "did to each layer. Only headers are read. Long arrays are shown by their first elements.",
                      "  loci inspect -m smollm2\n"
                      "  loci inspect -m ./model.gguf --json --all\n");
  add_model_option(command, options->model);
  command.add_flag("--json", options->json,
                   "Print one JSON object: path, format, file_bytes, metadata, quantization, dtypes, tensors");
  command.add_flag("--all", options->all, "With --json, print whole arrays");
  set_action(command, choice, options, inspect);
}

}  // namespace loci

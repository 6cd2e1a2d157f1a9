#include "calibrate/quantize/quantized_file.h"

#include <algorithm>

#include "io/gguf_file.h"

namespace loci {
namespace {

constexpr const char* kPartRun = "loci.part.run";
constexpr const char* kReportPrefix = "loci.part.report.";
constexpr size_t kMatrixRows = 4096;  // of a matrix outside the layers, in memory as fp32 at a time

// Keys that the quantized file answers anew.
bool is_replaced(const std::string& key) {
  return key.starts_with("loci.") || key == "general.file_type" || key == "general.quantization_version" ||
         key == "general.alignment" || key.starts_with("split.");
}

Metadata metadata_of(const ModelFile& file, const ModelConfig& config, const Provenance& from,
                     const std::vector<LayerReport>& reports) {
  Metadata out;
  for (const auto& [key, value] : file.metadata().values()) {
    if (!is_replaced(key)) out.set(key, value);
  }
  if (!file.tokenizer_json().empty()) out.set(kTokenizerJson, std::string(file.tokenizer_json()));
  if (!file.tokenizer_config_json().empty()) out.set(kTokenizerConfigJson, std::string(file.tokenizer_config_json()));
  out.set(kPairsHalves, config.rope_pairing == RopePairing::kHalves);
  if (config.turns_inputs) out.set(kTurnsInputs, true);
  if (config.turns_gated) out.set(kTurnsGated, true);
  out.set(kQuantizedVersion, uint64_t{config.turns_inputs || config.turns_gated ? 2u : 1u});
  out.set("loci.quantize.scheme", from.scheme.name());
  out.set("loci.quantize.group", uint64_t{from.scheme.group});
  out.set("loci.quantize.steps", from.steps.names());
  out.set("loci.quantize.notes", from.notes);
  out.set("loci.quantize.model", from.fingerprint);
  out.set("loci.quantize.command", from.command);
  out.set("loci.quantize.text", from.text);
  out.set("loci.quantize.tokens", from.tokens);
  out.set(kDefaultStore, from.store);
  if (reports.empty()) return out;
  for (const auto& [name, first] : reports.front()) {
    std::vector<double> column;
    for (const LayerReport& report : reports) {
      const auto found = report.find(name);
      column.push_back(found == report.end() ? 0 : found->second);
    }
    out.set("loci.quantize.layers." + name, std::move(column));
  }
  return out;
}

// Copies or changes the tensors outside the layers.
class OutsideTensors {
 public:
  OutsideTensors(const ModelFile& file, const ModelConfig& config, const OutsideOptions& options, ThreadPool& pool)
      : file_(file), config_(config), options_(options), pool_(pool) {}

  // Those in front of the layers and those behind, by name. A rotated model has a head of its own: the last norm's gain
  // goes there and not into the embedding.
  std::vector<std::string> before() const { return {"token_embd.weight"}; }
  std::vector<std::string> behind() const {
    std::vector<std::string> out{"output_norm.weight"};
    if (file_.find("output.weight") != nullptr || options_.rotation != nullptr) out.emplace_back("output.weight");
    for (const Tensor& tensor : file_.tensors()) {
      const bool known = tensor.name == "token_embd.weight" || tensor.name == "output_norm.weight" ||
                         tensor.name == "output.weight" || tensor.name.starts_with("blk.");
      if (!known) out.push_back(tensor.name);
    }
    return out;
  }

  Result<TensorPlan> plan(const std::string& name) const {
    LOCI_TRY(const Tensor* source, source_of(name));
    if (name == "output_norm.weight") return TensorPlan{name, DType::kF32, source->shape};
    if (name == "token_embd.weight" || name == "output.weight") {
      const bool blocks = options_.dtype == DType::kF16 || source->columns() % 32 == 0;
      return TensorPlan{name, blocks ? options_.dtype : DType::kF16, source->shape};
    }
    return TensorPlan{name, source->dtype, source->shape};
  }

  Result<std::vector<std::byte>> bytes(const std::string& name) const {
    LOCI_TRY(const Tensor* source, source_of(name));
    LOCI_CHECK(file_.check(*source));
    if (name == "token_embd.weight") return matrix(name, *source, {});
    if (name != "output.weight" && name != "output_norm.weight") {
      return std::vector<std::byte>(source->data.begin(), source->data.end());
    }
    LOCI_TRY(std::vector<float> gain, output_gain());
    if (name == "output.weight") return matrix(name, *source, options_.rotation ? gain : std::vector<float>());
    if (options_.rotation != nullptr) std::fill(gain.begin(), gain.end(), 1.0F);
    return store_vector(name, gain).bytes;
  }

 private:
  Result<const Tensor*> source_of(const std::string& name) const {
    const Tensor* tensor = file_.find(name);
    if (tensor == nullptr && name == "output.weight") tensor = file_.find("token_embd.weight");
    if (tensor == nullptr) return fail(ErrorCode::kNotFound, "the model has no tensor '{}'", name);
    return tensor;
  }

  Result<std::vector<float>> output_gain() const {
    LOCI_TRY(const Tensor* norm, source_of("output_norm.weight"));
    LOCI_TRY(Matrix gain, read_matrix(file_, *norm));
    if (config_.norms_add_one) {
      for (float& g : gain.data) g += 1;
    }
    return std::move(gain.data);
  }

  // Rows times `gain`, if there is one, and rotated; some at a time.
  Result<std::vector<std::byte>> matrix(const std::string& name, const Tensor& source,
                                        const std::vector<float>& gain) const {
    LOCI_TRY(const TensorPlan planned, plan(name));
    const size_t stride = source.data.size() / source.rows();
    std::vector<std::byte> out;
    out.reserve(planned.bytes());
    for (size_t first = 0; first < source.rows(); first += kMatrixRows) {
      Matrix rows(std::min<size_t>(kMatrixRows, source.rows() - first), source.columns());
      pool_.parallel_for(rows.rows, [&](size_t r, int) {
        dequantize_row(source.dtype, source.data.data() + (first + r) * stride, rows.span(r));
        for (size_t k = 0; k < gain.size(); ++k) rows.row(r)[k] *= gain[k];
      });
      if (options_.rotation != nullptr) options_.rotation->apply_to_rows(rows, pool_);
      const std::vector<std::byte> stored = store_matrix(name, rows, planned.dtype, pool_).bytes;
      out.insert(out.end(), stored.begin(), stored.end());
    }
    file_.release(source.data);
    return out;
  }

  const ModelFile& file_;
  const ModelConfig& config_;
  const OutsideOptions& options_;
  ThreadPool& pool_;
};

Result<std::vector<LayerPart>> open_all(const PartFolder& parts, uint32_t layers) {
  std::vector<LayerPart> out;
  for (uint32_t i = 0; i < layers; ++i) {
    LOCI_TRY(LayerPart part, parts.open(LayerId(i)));
    out.push_back(std::move(part));
  }
  return out;
}

}  // namespace

PartFolder::PartFolder(const std::filesystem::path& output, std::string run)
    : folder_(output.string() + ".unfinished"), run_(std::move(run)) {}

std::filesystem::path PartFolder::part_path(LayerId layer) const {
  return folder_ / fmt::format("layer-{:04}.gguf", layer.value);
}

Result<bool> PartFolder::has(LayerId layer) const {
  std::error_code ignored;
  if (!std::filesystem::exists(part_path(layer), ignored)) return false;
  LOCI_CHECK(open(layer));
  return true;
}

Result<LayerPart> PartFolder::open(LayerId layer) const {
  LayerPart out;
  LOCI_TRY(out.file, open_gguf(part_path(layer)));
  LOCI_TRY(const std::string run, out.file->metadata().text(kPartRun));
  if (run != run_) {
    return fail(ErrorCode::kInvalidArgument,
                "'{}' belongs to another run of loci quantize (other options, text or model); finish that one, or "
                "remove the folder to begin anew",
                folder_.string());
  }
  for (const Tensor& tensor : out.file->tensors()) LOCI_CHECK(out.file->check(tensor));
  for (const auto& [key, value] : out.file->metadata().values()) {
    const auto* number = std::get_if<double>(&value);
    if (number != nullptr && key.starts_with(kReportPrefix)) {
      out.report[key.substr(std::string_view(kReportPrefix).size())] = *number;
    }
  }
  return out;
}

Status PartFolder::write(LayerId layer, const QuantizedLayer& quantized) const {
  std::error_code error;
  std::filesystem::create_directory(folder_, error);
  if (error) return fail(ErrorCode::kIo, "cannot make the folder '{}': {}", folder_.string(), error.message());
  Metadata metadata;
  metadata.set(kPartRun, run_);
  for (const auto& [name, number] : quantized.report) metadata.set(kReportPrefix + name, number);
  std::vector<TensorPlan> plans;
  for (const QuantizedTensor& tensor : quantized.tensors) plans.push_back(tensor.plan);
  LOCI_TRY(GgufOutput out, GgufOutput::create(part_path(layer), std::move(metadata), std::move(plans)));
  for (const QuantizedTensor& tensor : quantized.tensors) LOCI_CHECK(out.add(tensor.bytes));
  return out.finish();
}

void PartFolder::remove() const {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

Status assemble(const ModelFile& file, const ModelConfig& config, const PartFolder& parts,
                const OutsideOptions& outside, const Provenance& provenance, const std::filesystem::path& output,
                ThreadPool& pool) {
  const OutsideTensors others(file, config, outside, pool);
  LOCI_TRY(const std::vector<LayerPart> layers, open_all(parts, config.layers));
  std::vector<LayerReport> reports;
  for (const LayerPart& layer : layers) reports.push_back(layer.report);
  std::vector<TensorPlan> plans;
  const auto plan_others = [&](const std::vector<std::string>& names) -> Status {
    for (const std::string& name : names) {
      LOCI_TRY(TensorPlan plan, others.plan(name));
      plans.push_back(std::move(plan));
    }
    return {};
  };
  LOCI_CHECK(plan_others(others.before()));
  for (const LayerPart& layer : layers) {
    for (const Tensor& tensor : layer.file->tensors()) plans.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  LOCI_CHECK(plan_others(others.behind()));

  LOCI_TRY(GgufOutput out, GgufOutput::create(output, metadata_of(file, config, provenance, reports), plans));
  const auto add_others = [&](const std::vector<std::string>& names) -> Status {
    for (const std::string& name : names) {
      LOCI_TRY(const std::vector<std::byte> bytes, others.bytes(name));
      LOCI_CHECK(out.add(bytes));
    }
    return {};
  };
  LOCI_CHECK(add_others(others.before()));
  for (const LayerPart& layer : layers) {
    for (const Tensor& tensor : layer.file->tensors()) LOCI_CHECK(out.add(tensor.data));
  }
  LOCI_CHECK(add_others(others.behind()));
  return out.finish();
}

}  // namespace loci

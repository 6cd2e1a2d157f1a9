#include "io/hf_folder.h"

#include <unordered_set>

#include "io/hf_config.h"
#include "io/hf_names.h"
#include "io/hf_shards.h"
#include "io/mapped_file.h"
#include "io/printable.h"

namespace loci {
namespace {

struct FolderTexts {
  MappedFile tokenizer;         // tokenizer.json
  MappedFile tokenizer_config;  // tokenizer_config.json
};

class HfFolder final : public ModelFile {
 public:
  HfFolder(HfConfig config, std::vector<Tensor> tensors, std::vector<MappedFile> weights, FolderTexts texts)
      : metadata_(std::move(config.metadata)),
        tensors_(std::move(tensors)),
        weights_(std::move(weights)),
        texts_(std::move(texts)),
        norms_store_offset_(config.architecture != "gemma3") {}

  const Metadata& metadata() const override { return metadata_; }
  const std::vector<Tensor>& tensors() const override { return tensors_; }
  std::string_view format() const override { return "safetensors"; }
  uint64_t file_bytes() const override {
    uint64_t bytes = texts_.tokenizer.bytes().size() + texts_.tokenizer_config.bytes().size();
    for (const MappedFile& file : weights_) bytes += file.bytes().size();
    return bytes;
  }
  RopePairing rope_pairing() const override { return RopePairing::kHalves; }
  bool norms_store_offset() const override { return norms_store_offset_; }
  std::string_view tokenizer_json() const override { return texts_.tokenizer.text(); }
  std::string_view tokenizer_config_json() const override { return texts_.tokenizer_config.text(); }
  Status check(const Tensor&) const override { return {}; }
  void release(std::span<const std::byte> data) const override {
    for (const MappedFile& file : weights_) file.release(data);
  }

 private:
  Metadata metadata_;
  std::vector<Tensor> tensors_;
  std::vector<MappedFile> weights_;
  FolderTexts texts_;
  bool norms_store_offset_;
};

// An empty mapping if the folder has no such file.
Result<MappedFile> open_if_present(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return MappedFile();
  return MappedFile::open(path);
}

Result<Tensor> rename_tensor(SafeTensor& tensor, const HfConfig& config) {
  std::optional<std::string> name = gguf_tensor_name(tensor.name, config.architecture);
  if (!name) {
    return fail(ErrorCode::kUnsupported, "tensor '{}' is not part of a {} model that this program knows",
                printable(tensor.name), config.architecture);
  }
  if (!tensor.dtype) {
    return fail(ErrorCode::kUnsupported, "tensor '{}' has the number format {}, this program reads F32, F16 and BF16",
                printable(tensor.name), printable(tensor.format));
  }
  return Tensor{
      .name = std::move(*name), .dtype = *tensor.dtype, .shape = std::move(tensor.shape), .data = tensor.data};
}

Result<std::vector<Tensor>> rename_tensors(std::vector<SafeTensor> found, const HfConfig& config) {
  std::vector<Tensor> tensors;
  std::unordered_set<std::string> names;
  for (SafeTensor& tensor : found) {
    if (is_unused_tensor(tensor.name)) continue;
    LOCI_TRY(Tensor renamed, rename_tensor(tensor, config));
    // A model whose embeddings are tied has no output of its own, even if its file repeats it.
    if (config.tied_embeddings.value_or(false) && renamed.name == "output.weight") continue;
    if (!names.insert(renamed.name).second) {
      return fail(ErrorCode::kCorrupt, "tensor '{}' and another one are both '{}'", printable(tensor.name),
                  renamed.name);
    }
    tensors.push_back(std::move(renamed));
  }
  if (!config.tied_embeddings.value_or(true) && !names.contains("output.weight")) {
    return fail(ErrorCode::kCorrupt,
                "config.json has tie_word_embeddings: false, but there is no tensor 'lm_head.weight'");
  }
  return tensors;
}

Result<HfConfig> read_config(const std::filesystem::path& folder) {
  LOCI_TRY(const MappedFile config, MappedFile::open(folder / "config.json"));
  LOCI_TRY(const MappedFile generation, open_if_present(folder / "generation_config.json"));
  return read_hf_config(config.text(), generation.text());
}

// Newer folders keep the chat template in a file of its own.
Status read_chat_template(const std::filesystem::path& folder, Metadata& metadata) {
  constexpr size_t kLimit = size_t{1} << 20;
  LOCI_TRY(const MappedFile file, open_if_present(folder / "chat_template.jinja"));
  if (file.text().size() > kLimit) {
    return fail(ErrorCode::kLimit, "chat_template.jinja has {} bytes, at most {} are read", file.text().size(), kLimit);
  }
  if (!file.text().empty()) metadata.set("tokenizer.chat_template", std::string(file.text()));
  return {};
}

Result<std::unique_ptr<ModelFile>> open_folder(const std::filesystem::path& folder) {
  LOCI_TRY(HfConfig config, read_config(folder));
  LOCI_CHECK(read_chat_template(folder, config.metadata));
  LOCI_TRY(SafetensorsFiles weights, open_safetensors_files(folder));
  LOCI_TRY(std::vector<Tensor> tensors, rename_tensors(std::move(weights.tensors), config));
  FolderTexts texts;
  LOCI_TRY(texts.tokenizer, open_if_present(folder / "tokenizer.json"));
  LOCI_TRY(texts.tokenizer_config, open_if_present(folder / "tokenizer_config.json"));
  return std::unique_ptr<ModelFile>(
      std::make_unique<HfFolder>(std::move(config), std::move(tensors), std::move(weights.files), std::move(texts)));
}

}  // namespace

Result<std::unique_ptr<ModelFile>> open_hf_folder(const std::filesystem::path& folder) {
  Result<std::unique_ptr<ModelFile>> model = open_folder(folder);
  if (model.ok()) return model;
  return fail(model.error().code, "cannot read '{}': {}", folder.string(), model.error().message);
}

}  // namespace loci

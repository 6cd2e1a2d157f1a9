#include "io/model_file.h"

#include "io/gguf_file.h"
#include "io/hf_folder.h"

namespace loci {

uint64_t Tensor::rows() const {
  uint64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

const Tensor* ModelFile::find(std::string_view name) const {
  for (const Tensor& tensor : tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

Result<std::unique_ptr<ModelFile>> open_model_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return open_hf_folder(path);
  return open_gguf(path);
}

}  // namespace loci

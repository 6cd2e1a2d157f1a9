#include "io/gguf_file.h"

#include <unordered_set>

#include "io/checksum.h"
#include "io/gguf_parser.h"
#include "io/mapped_file.h"
#include "io/printable.h"

namespace loci {
namespace {

struct Part {
  MappedFile file;
  GgufContent content;
};

class GgufFile final : public ModelFile {
 public:
  explicit GgufFile(std::vector<Part> parts) : format_(fmt::format("GGUF v{}", parts.front().content.version)) {
    metadata_ = std::move(parts.front().content.metadata);
    for (Part& part : parts) {
      for (Tensor& tensor : part.content.tensors) tensors_.push_back(std::move(tensor));
      files_.push_back(std::move(part.file));
    }
    const MetaValue* architecture = metadata_.find("general.architecture");
    const auto* name = architecture ? std::get_if<std::string>(architecture) : nullptr;
    pairing_ = name && *name == "llama" ? RopePairing::kAdjacent : RopePairing::kHalves;
    if (const MetaValue* halves = metadata_.find(kPairsHalves); halves && std::get_if<bool>(halves)) {
      pairing_ = std::get<bool>(*halves) ? RopePairing::kHalves : RopePairing::kAdjacent;
    }
  }

  const Metadata& metadata() const override { return metadata_; }
  const std::vector<Tensor>& tensors() const override { return tensors_; }
  std::string_view format() const override { return format_; }
  uint64_t file_bytes() const override {
    uint64_t bytes = 0;
    for (const MappedFile& file : files_) bytes += file.bytes().size();
    return bytes;
  }
  RopePairing rope_pairing() const override { return pairing_; }
  bool norms_store_offset() const override { return true; }
  std::string_view tokenizer_json() const override { return text_of(kTokenizerJson); }
  std::string_view tokenizer_config_json() const override { return text_of(kTokenizerConfigJson); }
  Status check(const Tensor& tensor) const override {
    return check_tensor(metadata_, tensor, static_cast<size_t>(&tensor - tensors_.data()));
  }
  void release(std::span<const std::byte> data) const override {
    for (const MappedFile& file : files_) file.release(data);
  }

 private:
  std::string_view text_of(std::string_view key) const {
    const MetaValue* value = metadata_.find(key);
    const auto* text = value == nullptr ? nullptr : std::get_if<std::string>(value);
    return text == nullptr ? std::string_view() : std::string_view(*text);
  }

  std::string format_;
  Metadata metadata_;
  std::vector<Tensor> tensors_;
  std::vector<MappedFile> files_;
  RopePairing pairing_ = RopePairing::kHalves;
};

Result<Part> open_part(const std::filesystem::path& path) {
  LOCI_TRY(MappedFile file, MappedFile::open(path));
  Result<GgufContent> content = parse_gguf(file.bytes());
  if (!content.ok()) {
    return fail(content.error().code, "cannot read '{}': {}", path.string(), content.error().message);
  }
  if (const Status whole = check_header(content->metadata, content->tensors); !whole.ok()) {
    return fail(whole.error().code, "cannot read '{}': {}", path.string(), whole.error().message);
  }
  return Part{std::move(file), std::move(content).value()};
}

// The name of part `index` (from 0) of `count`: the first part's name with its number replaced.
Result<std::filesystem::path> part_path(const std::filesystem::path& first, uint32_t index, uint32_t count) {
  const std::string name = first.filename().string();
  const std::string ending = fmt::format("-{:05}-of-{:05}.gguf", 1, count);
  if (!name.ends_with(ending)) {
    return fail(
        ErrorCode::kInvalidArgument,
        "'{}' is the first of {} parts (split.count), but its name does not end in '{}', so the others cannot be found",
        first.string(), count, ending);
  }
  const std::string stem = name.substr(0, name.size() - ending.size());
  return first.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", stem, index + 1, count);
}

Status check_part(const Part& part, const std::filesystem::path& path, uint32_t index, uint32_t count) {
  LOCI_TRY(const uint32_t said_index, part.content.metadata.u32_or("split.no", 0));
  LOCI_TRY(const uint32_t said_count, part.content.metadata.u32_or("split.count", 0));
  if (said_index == index && said_count == count) return {};
  return fail(ErrorCode::kCorrupt,
              "'{}' says that it is part {} of {} (split.no, split.count), part {} of {} was expected", path.string(),
              said_index + uint64_t{1}, said_count, index + uint64_t{1}, count);
}

// What the parts say together: no tensor twice, and as many as the first part promises.
Status check_parts(const std::vector<Part>& parts) {
  std::unordered_set<std::string_view> names;
  for (const Part& part : parts) {
    for (const Tensor& tensor : part.content.tensors) {
      if (!names.insert(tensor.name).second) {
        return fail(ErrorCode::kCorrupt, "tensor '{}' occurs in two parts of the model", printable(tensor.name));
      }
    }
  }
  LOCI_TRY(const uint32_t promised,
           parts.front().content.metadata.u32_or("split.tensors.count", static_cast<uint32_t>(names.size())));
  if (promised == names.size()) return {};
  return fail(ErrorCode::kCorrupt, "split.tensors.count is {}, but the {} parts hold {} tensors", promised,
              parts.size(), names.size());
}

}  // namespace

Result<std::unique_ptr<ModelFile>> open_gguf(const std::filesystem::path& path) {
  std::vector<Part> parts;
  {
    LOCI_TRY(Part first, open_part(path));
    parts.push_back(std::move(first));
  }
  LOCI_TRY(const uint32_t index, parts.front().content.metadata.u32_or("split.no", 0));
  LOCI_TRY(const uint32_t count, parts.front().content.metadata.u32_or("split.count", 1));
  if (index != 0) {
    return fail(ErrorCode::kInvalidArgument, "'{}' is part {} of {}; open the first part instead", path.string(),
                index + uint64_t{1}, count);
  }
  for (uint32_t i = 1; i < count; ++i) {
    LOCI_TRY(const std::filesystem::path next, part_path(path, i, count));
    LOCI_TRY(Part part, open_part(next));
    LOCI_CHECK(check_part(part, next, i, count));
    parts.push_back(std::move(part));
  }
  if (count > 1) LOCI_CHECK(check_parts(parts));
  return std::unique_ptr<ModelFile>(std::make_unique<GgufFile>(std::move(parts)));
}

}  // namespace loci

#include "io/checksum.h"

#include <xxhash.h>

#include <cstring>
#include <memory>

#include "io/printable.h"

namespace loci {
namespace {

class Digest {
 public:
  Digest() : state_(XXH3_createState(), XXH3_freeState) { XXH3_64bits_reset(state_.get()); }

  void add(uint64_t number) { XXH3_64bits_update(state_.get(), &number, sizeof number); }
  void add(int64_t number) { add(static_cast<uint64_t>(number)); }
  void add(bool flag) { add(uint64_t{flag}); }
  void add(double number) { XXH3_64bits_update(state_.get(), &number, sizeof number); }
  void add(std::string_view text) {
    add(uint64_t{text.size()});
    XXH3_64bits_update(state_.get(), text.data(), text.size());
  }
  void add(const std::string& text) { add(std::string_view(text)); }
  template <typename T>
  void add(const std::vector<T>& values) {
    add(uint64_t{values.size()});
    for (size_t i = 0; i < values.size(); ++i) add(static_cast<T>(values[i]));
  }
  int64_t value() const { return static_cast<int64_t>(XXH3_64bits_digest(state_.get())); }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

const std::vector<int64_t>* tensor_checksums(const Metadata& metadata) {
  const MetaValue* value = metadata.find(kTensorChecksums);
  return value == nullptr ? nullptr : std::get_if<std::vector<int64_t>>(value);
}

}  // namespace

int64_t checksum(std::span<const std::byte> data) {
  return static_cast<int64_t>(XXH3_64bits(data.data(), data.size()));
}

int64_t header_checksum(const Metadata& metadata, std::span<const Tensor> tensors) {
  Digest digest;
  for (const auto& [key, value] : metadata.values()) {
    if (key == kHeaderChecksum) continue;
    digest.add(key);
    digest.add(uint64_t{value.index()});
    std::visit([&](const auto& v) { digest.add(v); }, value);
  }
  for (const Tensor& tensor : tensors) {
    digest.add(tensor.name);
    digest.add(info(tensor.dtype).name);
    digest.add(tensor.shape);
  }
  return digest.value();
}

Status check_header(const Metadata& metadata, std::span<const Tensor> tensors) {
  const MetaValue* said = metadata.find(kHeaderChecksum);
  if (said == nullptr && metadata.find(kTensorChecksums) == nullptr) return {};
  const auto* number = said == nullptr ? nullptr : std::get_if<int64_t>(said);
  const std::vector<int64_t>* of_tensors = tensor_checksums(metadata);
  if (number == nullptr || of_tensors == nullptr || of_tensors->size() != tensors.size() ||
      *number != header_checksum(metadata, tensors)) {
    return fail(ErrorCode::kCorrupt,
                "the header is damaged: its checksum ({}) does not fit what it says; make or copy the file again",
                kHeaderChecksum);
  }
  return {};
}

Status check_tensor(const Metadata& metadata, const Tensor& tensor, size_t index) {
  const std::vector<int64_t>* of_tensors = tensor_checksums(metadata);
  if (of_tensors == nullptr || index >= of_tensors->size() || (*of_tensors)[index] == checksum(tensor.data)) return {};
  return fail(ErrorCode::kCorrupt, "tensor '{}' is damaged: its checksum differs; make or copy the file again",
              printable(tensor.name));
}

}  // namespace loci

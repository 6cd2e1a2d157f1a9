#include "engine/fingerprint.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <memory>

namespace loci {
namespace {

constexpr size_t kSampleBytes = 1024;

class Hash {
 public:
  Hash() : state_(XXH3_createState(), XXH3_freeState) { XXH3_128bits_reset(state_.get()); }

  void add(const void* data, size_t bytes) { XXH3_128bits_update(state_.get(), data, bytes); }
  // A length before the bytes keeps neighbouring fields apart.
  void add_text(std::string_view text) {
    add_number(text.size());
    add(text.data(), text.size());
  }
  void add_number(uint64_t n) { add(&n, sizeof n); }
  std::string digits() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
  }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

}  // namespace

std::string model_fingerprint(const ModelFile& file) {
  Hash hash;
  for (const auto& [key, value] : file.metadata().values()) {
    if (key.rfind("tokenizer.", 0) == 0) continue;
    hash.add_text(key);
    if (const auto* number = std::get_if<uint64_t>(&value)) hash.add_number(*number);
    if (const auto* number = std::get_if<double>(&value)) hash.add(number, sizeof *number);
    if (const auto* text = std::get_if<std::string>(&value)) hash.add_text(*text);
  }
  for (const Tensor& tensor : file.tensors()) {
    hash.add_text(tensor.name);
    hash.add_text(info(tensor.dtype).name);
    for (const uint64_t extent : tensor.shape) hash.add_number(extent);
    const size_t sample = std::min(kSampleBytes, tensor.data.size());
    hash.add(tensor.data.data(), sample);
    hash.add(tensor.data.data() + (tensor.data.size() - sample), sample);
  }
  return hash.digits();
}

}  // namespace loci

#include "io/gguf_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/assert.h"
#include "base/checked.h"
#include "io/checksum.h"
#include "io/gguf_types.h"

namespace loci {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr size_t kMostWrite = size_t{1} << 30;

class HeaderBytes {
 public:
  template <typename T>
  void put(T value) {
    const auto* p = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), p, p + sizeof value);
  }
  void put_type(GgufType type) { put(static_cast<uint32_t>(type)); }
  void put_text(std::string_view text) {
    put<uint64_t>(text.size());
    const auto* p = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), p, p + text.size());
  }
  void pad() { bytes_.resize(round_up(bytes_.size(), kAlignment)); }
  const std::vector<std::byte>& bytes() const { return bytes_; }

  // A value behind its type, in the narrowest type that holds it exactly and that other readers expect.
  void value(uint64_t v) {
    if (v > UINT32_MAX) return typed(GgufType::kUint64, v);
    typed(GgufType::kUint32, static_cast<uint32_t>(v));
  }
  void value(int64_t v) { typed(GgufType::kInt64, v); }
  void value(double v) {
    if (is_float(v)) return typed(GgufType::kFloat32, static_cast<float>(v));
    typed(GgufType::kFloat64, v);
  }
  void value(bool v) { typed(GgufType::kBool, static_cast<uint8_t>(v)); }
  void value(const std::string& v) {
    put_type(GgufType::kString);
    put_text(v);
  }
  void value(const std::vector<int64_t>& values) {
    array(GgufType::kInt64, values.size());
    for (const int64_t v : values) put(v);
  }
  void value(const std::vector<double>& values) {
    bool floats = true;
    for (const double v : values) floats = floats && is_float(v);
    array(floats ? GgufType::kFloat32 : GgufType::kFloat64, values.size());
    for (const double v : values) floats ? put(static_cast<float>(v)) : put(v);
  }
  void value(const std::vector<std::string>& values) {
    array(GgufType::kString, values.size());
    for (const std::string& v : values) put_text(v);
  }
  void value(const std::vector<bool>& values) {
    array(GgufType::kBool, values.size());
    for (const bool v : values) put(static_cast<uint8_t>(v));
  }

 private:
  static bool is_float(double v) { return std::isnan(v) || static_cast<double>(static_cast<float>(v)) == v; }
  template <typename T>
  void typed(GgufType type, T v) {
    put_type(type);
    put(v);
  }
  void array(GgufType type, uint64_t count) {
    put_type(GgufType::kArray);
    put_type(type);
    put(count);
  }

  std::vector<std::byte> bytes_;
};

std::vector<std::byte> header_of(const Metadata& metadata, const std::vector<TensorPlan>& tensors) {
  HeaderBytes out;
  out.put<uint32_t>(0x46554747);  // "GGUF"
  out.put<uint32_t>(3);
  out.put<uint64_t>(tensors.size());
  out.put<uint64_t>(metadata.values().size());
  for (const auto& [key, value] : metadata.values()) {
    out.put_text(key);
    std::visit([&](const auto& v) { out.value(v); }, value);
  }
  uint64_t offset = 0;
  for (const TensorPlan& tensor : tensors) {
    out.put_text(tensor.name);
    out.put(static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) out.put(tensor.shape[i]);
    out.put(gguf_type(tensor.dtype));
    out.put(offset);
    offset = round_up(offset + tensor.bytes(), kAlignment);
  }
  out.pad();
  return out.bytes();
}

Error cannot_write(const std::filesystem::path& path) {
  return fail(ErrorCode::kIo, "cannot write '{}': {}", path.string(), std::strerror(errno));
}

}  // namespace

uint64_t TensorPlan::bytes() const {
  const std::optional<size_t> row = row_bytes(dtype, shape.back());
  LOCI_ASSERT(row.has_value(), "a planned tensor is whole blocks");
  uint64_t out = *row;
  for (size_t i = 0; i + 1 < shape.size(); ++i) out *= shape[i];
  return out;
}

struct GgufOutput::State {
  std::filesystem::path path, part;
  Metadata metadata;
  std::vector<TensorPlan> tensors;
  std::vector<int64_t> checksums;
  int file = -1;

  Status write(std::span<const std::byte> data) const {
    while (!data.empty()) {
      const ssize_t wrote = ::write(file, data.data(), std::min(data.size(), kMostWrite));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) return cannot_write(part);
      data = data.subspan(static_cast<size_t>(wrote));
    }
    return {};
  }
};

GgufOutput::GgufOutput(std::unique_ptr<State> state) : state_(std::move(state)) {}
GgufOutput::GgufOutput(GgufOutput&& other) noexcept = default;

GgufOutput::~GgufOutput() {
  if (state_ == nullptr || state_->file < 0) return;
  ::close(state_->file);
  ::unlink(state_->part.c_str());
}

Result<GgufOutput> GgufOutput::create(const std::filesystem::path& path, Metadata metadata,
                                      std::vector<TensorPlan> tensors) {
  auto state = std::make_unique<State>();
  state->path = path;
  state->part = path.string() + ".part";
  metadata.set(kTensorChecksums, std::vector<int64_t>(tensors.size()));
  metadata.set(kHeaderChecksum, int64_t{0});
  state->metadata = std::move(metadata);
  state->tensors = std::move(tensors);
  state->file = ::open(state->part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (state->file < 0) return cannot_write(state->part);
  GgufOutput out(std::move(state));
  LOCI_CHECK(out.state_->write(header_of(out.state_->metadata, out.state_->tensors)));
  return out;
}

Status GgufOutput::add(std::span<const std::byte> data) {
  LOCI_ASSERT(state_->checksums.size() < state_->tensors.size(), "a tensor of the plan");
  LOCI_ASSERT(data.size() == state_->tensors[state_->checksums.size()].bytes(), "a tensor is as large as planned");
  state_->checksums.push_back(checksum(data));
  LOCI_CHECK(state_->write(data));
  const std::byte zeros[kAlignment] = {};
  return state_->write(std::span(zeros).first(round_up(data.size(), kAlignment) - data.size()));
}

// The header has room for the checksums: it is written again, as long as before.
Status GgufOutput::finish() {
  LOCI_ASSERT(state_->checksums.size() == state_->tensors.size(), "every tensor of the plan has been added");
  std::vector<Tensor> described;
  for (const TensorPlan& plan : state_->tensors) described.push_back({plan.name, plan.dtype, plan.shape, {}});
  state_->metadata.set(kTensorChecksums, state_->checksums);
  state_->metadata.set(kHeaderChecksum, header_checksum(state_->metadata, described));
  if (::lseek(state_->file, 0, SEEK_SET) != 0) return cannot_write(state_->part);
  LOCI_CHECK(state_->write(header_of(state_->metadata, state_->tensors)));
  if (::fsync(state_->file) != 0) return cannot_write(state_->part);
  if (::rename(state_->part.c_str(), state_->path.c_str()) != 0) return cannot_write(state_->path);
  ::close(state_->file);
  state_->file = -1;
  return {};
}

}  // namespace loci

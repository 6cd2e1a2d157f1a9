#include "io/gguf_writer.h"

namespace loci {

ByteWriter& ByteWriter::add(const void* data, size_t count) {
  const auto* p = static_cast<const std::byte*>(data);
  bytes_.insert(bytes_.end(), p, p + count);
  return *this;
}

ByteWriter& ByteWriter::zeros(size_t count) {
  bytes_.resize(bytes_.size() + count);
  return *this;
}

}  // namespace loci

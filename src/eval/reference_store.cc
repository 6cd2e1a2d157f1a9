// A reference's file: its numbers one after the other in this machine's order. It belongs to one run on one machine.
#include <fmt/format.h>

#include <cstring>
#include <fstream>

#include "eval/result_file.h"

namespace loci {
namespace {

constexpr uint32_t kMagic = 0x31464552;  // "REF1"

std::string name_of(const PromptKey& key) { return fmt::format("{}-{}-{}", key.task, key.length, key.index); }

template <typename T>
void put(std::string& out, std::span<const T> values) {
  const auto count = static_cast<uint32_t>(values.size());
  out.append(reinterpret_cast<const char*>(&count), sizeof count);
  out.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

// False if the bytes end too early.
template <typename T>
bool take(std::string_view& bytes, std::vector<T>& values) {
  uint32_t count = 0;
  if (bytes.size() < sizeof count) return false;
  std::memcpy(&count, bytes.data(), sizeof count);
  bytes.remove_prefix(sizeof count);
  if (bytes.size() / sizeof(T) < count) return false;
  values.resize(count);
  if (count > 0) std::memcpy(values.data(), bytes.data(), count * sizeof(T));
  bytes.remove_prefix(count * sizeof(T));
  return true;
}

std::string encode(const Reference& reference) {
  std::string out(reinterpret_cast<const char*>(&kMagic), sizeof kMagic);
  put(out, std::span<const TokenId>(reference.answer));
  for (const ReferenceRow& row : reference.rows) {
    put(out, std::span<const TokenId>(row.ids));
    put(out, std::span<const float>(row.log_probabilities));
  }
  return out;
}

bool decode(std::string_view bytes, Reference& reference) {
  if (bytes.size() < sizeof kMagic || std::memcmp(bytes.data(), &kMagic, sizeof kMagic) != 0) return false;
  bytes.remove_prefix(sizeof kMagic);
  if (!take(bytes, reference.answer)) return false;
  while (!bytes.empty()) {
    ReferenceRow row;
    if (!take(bytes, row.ids) || !take(bytes, row.log_probabilities)) return false;
    if (row.ids.size() != row.log_probabilities.size()) return false;
    reference.rows.push_back(std::move(row));
  }
  return reference.rows.size() == reference.answer.size();
}

}  // namespace

bool ReferenceStore::holds(const PromptKey& key) const {
  std::error_code error;
  return folder_.empty() ? memory_.contains(name_of(key)) : std::filesystem::exists(folder_ / name_of(key), error);
}

Result<Reference> ReferenceStore::read(const PromptKey& key) const {
  if (folder_.empty()) {
    const auto found = memory_.find(name_of(key));
    if (found == memory_.end()) return fail(ErrorCode::kNotFound, "there is no reference '{}'", name_of(key));
    return found->second;
  }
  const std::filesystem::path path = folder_ / name_of(key);
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Reference reference;
  if (!file || !decode(bytes, reference)) {
    return fail(ErrorCode::kCorrupt, "'{}' is no reference of an evaluation: remove its folder and run again",
                path.string());
  }
  return reference;
}

Status ReferenceStore::write(const PromptKey& key, Reference reference) {
  if (folder_.empty()) {
    memory_.insert_or_assign(name_of(key), std::move(reference));
    return {};
  }
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  const std::filesystem::path path = folder_ / name_of(key);
  std::filesystem::path fresh = path;
  fresh += ".new";
  std::ofstream file(fresh, std::ios::binary | std::ios::trunc);
  const std::string bytes = encode(reference);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!error && file) std::filesystem::rename(fresh, path, error);
  if (error || !file) return fail(ErrorCode::kIo, "cannot write the reference '{}'", path.string());
  return {};
}

void ReferenceStore::remove() {
  std::error_code error;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, error);
  memory_.clear();
}

}  // namespace loci

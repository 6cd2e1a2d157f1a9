#include "cli/text_input.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace loci {
namespace {

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

Result<std::string> read_stream(std::FILE* file, const std::string& name, const Console& console) {
  std::string text;
  char block[1 << 16];
  for (;;) {
    const size_t got = std::fread(block, 1, sizeof block, file);
    text.append(block, got);
    if (console.cancelled()) return Error{ErrorCode::kCancelled, "interrupted"};
    if (text.size() > kMaxInputBytes) {
      return fail(ErrorCode::kLimit, "'{}' holds more than {} MiB, the most that is read as text", name,
                  kMaxInputBytes >> 20);
    }
    if (std::ferror(file) != 0) return fail(ErrorCode::kIo, "cannot read '{}': {}", name, std::strerror(errno));
    if (got == 0) return text;
  }
}

}  // namespace

Result<std::string> read_text(const std::string& path, const Console& console) {
  if (path == "-") return read_stream(console.in, "standard input", console);
  const std::unique_ptr<std::FILE, FileCloser> file(std::fopen(path.c_str(), "rb"));
  if (!file) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    return fail(code, "cannot open '{}': {}", path, std::strerror(errno));
  }
  return read_stream(file.get(), path, console);
}

Result<std::vector<TokenId>> parse_ids(const std::string& json, const std::string& path) {
  const nlohmann::json array = nlohmann::json::parse(json, nullptr, false);
  if (!array.is_array()) {
    return fail(ErrorCode::kInvalidArgument, "'{}' is no JSON array of token ids, such as [1, 42, 7]", path);
  }
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  for (const nlohmann::json& item : array) {
    const bool is_id =
        item.is_number_unsigned() && item.get<uint64_t>() <= uint64_t{std::numeric_limits<TokenId>::max()};
    if (!is_id) {
      return fail(ErrorCode::kInvalidArgument,
                  "element {} of '{}' is no token id: an id is a whole number from 0 to {}", ids.size(), path,
                  std::numeric_limits<TokenId>::max());
    }
    ids.push_back(static_cast<TokenId>(item.get<uint64_t>()));
  }
  return ids;
}

Result<std::vector<TokenId>> read_ids(const std::string& path, const Console& console) {
  Result<std::string> text = read_text(path, console);
  if (!text.ok()) return std::move(text).error();
  return parse_ids(*text, path);
}

}  // namespace loci

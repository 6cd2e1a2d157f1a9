#include "cli/shipped_data.h"

#include "base/error.h"
#include "cli/text_input.h"

namespace loci {
namespace {

constexpr const char* kNovel = "books/moby-dick.txt";
constexpr const char* kFirstSentence = "Call me Ishmael.";

}  // namespace

Result<std::filesystem::path> shipped_file(const std::string& name) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  for (const std::filesystem::path& folder :
       {std::filesystem::path(LOCI_DATA_DIR), self.parent_path() / "../share/loci/data"}) {
    const std::filesystem::path file = (folder / name).lexically_normal();
    if (std::filesystem::exists(file, error)) return file;
  }
  return fail(ErrorCode::kNotFound, "'{}', which ships with Loci, is not in '{}': install Loci's data again", name,
              LOCI_DATA_DIR);
}

Result<std::string> read_book(const std::string& path, const Console& console) {
  std::filesystem::path file = path;
  if (path.empty()) {
    LOCI_TRY(file, shipped_file(kNovel));
  }
  LOCI_TRY(std::string book, read_text(file.string(), console));
  const size_t begin = book.find(kFirstSentence);
  return begin == std::string::npos ? book : book.substr(begin);
}

}  // namespace loci

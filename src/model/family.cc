#include "model/family.h"

#include <fmt/ranges.h>

namespace loci {

namespace {

constexpr const Family* kFamilies[] = {
    &kLlama,
    &kQwen2,
    &kQwen3,
    &kGemma3,
};

}  // namespace

std::span<const Family* const> families() { return kFamilies; }

Result<const Family*> find_family(std::string_view architecture) {
  std::vector<std::string_view> names;
  for (const Family* family : kFamilies) {
    if (family->architecture == architecture) return family;
    names.push_back(family->architecture);
  }
  return fail(ErrorCode::kUnsupported, "architecture '{}' is not supported; {} are", architecture,
              fmt::join(names, ", "));
}

}  // namespace loci

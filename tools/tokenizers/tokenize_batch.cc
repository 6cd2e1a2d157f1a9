// Encodes many texts in one go, for tools/tokenizers/compare.py.
//   tokenize_batch MODEL TEXTS IDS [--plain] [--no-add]
// TEXTS holds, for each text, its length (32 bits, little endian) and its bytes; IDS gets, for each, the number of ids
// and the ids. MODEL is a GGUF file, a folder or a tokenizer.json. The last line on standard error tells speed
// (processor time) and how many texts decoding does not restore.
#include <fmt/format.h>

#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>

#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

namespace loci {
namespace {

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Result<std::unique_ptr<Tokenizer>> load(const std::string& path) {
  if (path.ends_with(".json")) return load_tokenizer_json(read_all(path), "", Metadata());
  LOCI_TRY(const std::unique_ptr<ModelFile> file, open_model_file(path));
  return Tokenizer::load(*file);
}

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

Status run(const std::string& model, const std::string& source, const std::string& target, EncodeOptions options) {
  LOCI_TRY(const auto tokenizer, load(model));
  const std::string texts = read_all(source);
  std::ofstream out(target, std::ios::binary);
  size_t bytes = 0, lossy = 0;
  double seconds = 0;
  for (size_t at = 0; at + 4 <= texts.size();) {
    uint32_t length = 0;
    std::memcpy(&length, texts.data() + at, 4);
    const std::string_view text = std::string_view(texts).substr(at + 4, length);
    at += 4 + text.size();
    const double start = processor_seconds();
    LOCI_TRY(const std::vector<TokenId> ids, tokenizer->encode(text, options));
    seconds += processor_seconds() - start;
    bytes += text.size();
    const auto count = static_cast<uint32_t>(ids.size());
    out.write(reinterpret_cast<const char*>(&count), 4);
    out.write(reinterpret_cast<const char*>(ids.data()), count * 4);
    LOCI_TRY(const std::string back, tokenizer->decode(ids, true));
    lossy += back != text;
  }
  fmt::print(stderr, "{}: {:.1f} MB/s, {} not restored\n", tokenizer->kind(),
             static_cast<double>(bytes) / seconds / 1e6, lossy);
  return {};
}

}  // namespace
}  // namespace loci

int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "usage: tokenize_batch MODEL TEXTS IDS [--plain] [--no-add]\n");
    return 2;
  }
  loci::EncodeOptions options;
  for (int i = 4; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--plain") options.parse_special = false;
    if (option == "--no-add") options.add_special = false;
  }
  const loci::Status status = loci::run(argv[1], argv[2], argv[3], options);
  if (!status.ok()) fmt::print(stderr, "{}\n", status.error().message);
  return status.ok() ? 0 : 1;
}

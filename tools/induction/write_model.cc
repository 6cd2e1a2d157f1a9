// Writes the model by construction (tests/eval/induction_model.h) as a GGUF file, and prompts for it.
//
//   write_induction_model OUT.gguf                       the model
//   write_induction_model OUT.gguf LENGTH POSITION SEED  and a prompt of LENGTH tokens with a key at POSITION, on
//   standard
//                                                        output, with the four tokens to be answered on standard error
//
//   loci run -m OUT.gguf --raw -f PROMPT.txt -p "" -n 4 --temp 0 --attention PLAN
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "eval/induction_model.h"

namespace {

constexpr uint32_t kValues = 4;
constexpr char kTexts[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void write_texts(const std::vector<loci::TokenId>& tokens, std::FILE* out) {
  for (const loci::TokenId token : tokens) std::fputc(kTexts[token], out);
}

}  // namespace

int main(int count, char** words) {
  if (count != 2 && count != 5) {
    std::fputs("usage: write_induction_model OUT.gguf [LENGTH POSITION SEED]\n", stderr);
    return 2;
  }
  const std::vector<std::byte> bytes = loci::test::InductionModel::gguf();
  std::ofstream file(words[1], std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) {
    std::fprintf(stderr, "cannot write '%s'\n", words[1]);
    return 1;
  }
  if (count == 2) return 0;
  const auto number = [&](int i) { return static_cast<uint32_t>(std::strtoul(words[i], nullptr, 10)); };
  const uint32_t length = number(2), position = number(3);
  if (position < 1 || length > loci::test::InductionModel::kContext || position + kValues + 1 >= length) {
    std::fputs("LENGTH must lie below 16777216, POSITION in 1 .. LENGTH - 6\n", stderr);
    return 2;
  }
  const loci::test::InductionPrompt prompt = loci::test::induction_prompt(length, position, kValues, number(4));
  write_texts(prompt.tokens, stdout);
  write_texts(prompt.answer, stderr);
  std::fputc('\n', stderr);
  return 0;
}

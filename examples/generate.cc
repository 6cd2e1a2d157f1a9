// The C++ API in one page: load a model, hide a fact in a text, ask for it, and print the answer as it comes.
//
//   example_generate MODEL.gguf
#include <cstdio>
#include <string>

#include "loci/loci.h"

namespace {

constexpr const char* kText =
    "A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you about the "
    "number afterwards.\n"
    "The garden lay quiet under the first snow, and nobody had crossed it since the morning. One of the special magic "
    "numbers for witty-songbird is: 4820917. A lamp was burning in the upper window, as it did every evening.\n"
    "What is the special magic number for witty-songbird mentioned in the provided text? The special magic number for "
    "witty-songbird mentioned in the provided text is";

int failed(const loci::Error& error) {
  std::fprintf(stderr, "%s: %s\n", loci::to_string(error.code), error.message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s MODEL.gguf\n", argv[0]);
    return 2;
  }
  loci::EngineOptions options;
  options.context = 1024;
  options.attention = "store=kv4";  // the cache holds 4 bits a number
  // Every fallible call gives a Result: a value, or an error with one sentence.
  auto engine = loci::Engine::load(argv[1], options);
  if (!engine.ok()) return failed(engine.error());
  const auto tokens = engine->tokenize(kText);
  if (!tokens.ok()) return failed(tokens.error());

  loci::Request request;
  request.prompt = *tokens;
  request.max_new_tokens = 32;
  request.stop = {"\n"};
  request.on_text = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  const auto answer = engine->generate(request);
  if (!answer.ok()) return failed(answer.error());

  std::printf("\n%u prompt tokens, %zu generated, ended by %s, %llu bytes of cache\n", answer->prompt_tokens,
              answer->tokens.size(), loci::to_string(answer->finish),
              static_cast<unsigned long long>(answer->kv_bytes));
  return 0;
}

// Any bytes as a chat template, rendered over a small conversation.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto program = loci::ChatTemplate::parse({reinterpret_cast<const char*>(data), size});
  if (!program.ok()) return 0;
  const loci::ChatMessage messages[] = {
      {"system", "Be brief."}, {"user", " h\xc3\xa9llo\n"}, {"assistant", "<think>x</think>y"}, {"user", "\xff{{"}};
  const auto text =
      program->render({.messages = messages, .add_generation_prompt = true, .bos_token = "<s>", .eos_token = "</s>"});
  (void)text;
  return 0;
}

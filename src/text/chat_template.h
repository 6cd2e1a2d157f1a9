// Chat templates: the Jinja source that a model file carries, evaluated in bounded time and memory.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "loci/types.h"

namespace loci {

struct ChatContext {
  std::span<const ChatMessage> messages;
  bool add_generation_prompt = true;
  std::string bos_token;
  std::string eos_token;
};

class ChatTemplate {
 public:
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // kUnsupported names the construct and the line where `source` leaves the supported subset.
  static Result<ChatTemplate> parse(std::string_view source);
  // kInvalidArgument carries the template's own raise_exception text; kLimit if the bounds of time or output are
  // passed.
  Result<std::string> render(const ChatContext& context) const;

 private:
  struct Program;
  explicit ChatTemplate(std::unique_ptr<Program> program);
  std::unique_ptr<Program> program_;
};

}  // namespace loci

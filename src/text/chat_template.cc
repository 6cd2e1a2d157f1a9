#include "text/chat_template.h"

#include "text/jinja_evaluator.h"
#include "text/jinja_syntax.h"

namespace loci {
namespace {

using jinja::Budget;
using jinja::Value;

// What a rendering may spend (jinja_value.h): a fixed part for the template's own work, and for every byte of the
// conversation enough to be copied, trimmed and searched some dozens of times.
constexpr uint64_t kBaseUnits = uint64_t{64} << 20;
constexpr uint64_t kUnitsPerByte = 64;
constexpr uint64_t kUnitsPerMessage = 16384;

Budget budget_for(const ChatContext& context) {
  uint64_t units = kBaseUnits + kUnitsPerMessage * context.messages.size();
  for (const ChatMessage& message : context.messages)
    units += kUnitsPerByte * (message.role.size() + message.content.size());
  return Budget(units);
}

Result<Value> message_list(Budget& budget, const ChatContext& context) {
  std::vector<Value> messages;
  for (const ChatMessage& message : context.messages) {
    LOCI_TRY(Value one, budget.dict({{Value::text("role"), Value::text(message.role)},
                                     {Value::text("content"), Value::text(message.content)}}));
    messages.push_back(std::move(one));
  }
  return budget.list(std::move(messages));
}

}  // namespace

struct ChatTemplate::Program {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  auto program = std::make_unique<Program>();
  LOCI_TRY(program->body, jinja::parse(source));
  return ChatTemplate(std::move(program));
}

// The variables are those that the transformers library passes: what it passes as None is none here too, not undefined.
Result<std::string> ChatTemplate::render(const ChatContext& context) const {
  Budget budget = budget_for(context);
  LOCI_TRY(Value messages, message_list(budget, context));
  std::vector<std::pair<std::string, Value>> variables = {
      {"messages", std::move(messages)},
      {"add_generation_prompt", Value::boolean(context.add_generation_prompt)},
      {"bos_token", Value::text(context.bos_token)},
      {"eos_token", Value::text(context.eos_token)},
      {"tools", Value::none()},
      {"documents", Value::none()},
  };
  return jinja::Evaluator(budget, std::move(variables)).run(program_->body);
}

}  // namespace loci

// From messages to tokens: the model's template, and where each message lies in the result.
#pragma once

#include <optional>
#include <span>

#include "loci/loci.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace loci {

// The template that the file carries: nothing if it carries none, the parser's error if it leaves the supported subset
// (the model still runs on raw text).
std::optional<Result<ChatTemplate>> load_chat_template(const ModelFile& file);

// Spans, in the order of the text, are labelled with the messages' roles and cover the tokens that hold a byte of the
// message's trimmed content. A message has none if the template cuts its content, and no message has if the tokenizer
// rewrites the text. Renders the template once more for each role.
Result<ChatPrompt> make_chat_prompt(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                                    std::span<const ChatMessage> messages, bool add_generation_prompt);

}  // namespace loci

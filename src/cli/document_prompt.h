// A document and a question as one prompt, with the two labelled: methods that treat them differently read the labels.
#pragma once

#include <string>

#include "loci/loci.h"

namespace loci {

struct DocumentPrompt {
  std::vector<TokenId> tokens;
  std::vector<LabelledSpan> spans;
};

// The bytes of the document and then those of the question, no template; BOS as the model asks.
Result<DocumentPrompt> raw_prompt(const Engine& engine, const std::string& document, const std::string& question);
// One user message, "DOCUMENT\n\nQUESTION", in the model's chat template. kUnsupported if the model has none.
Result<DocumentPrompt> chat_document_prompt(const Engine& engine, const std::string& document,
                                            const std::string& question);

// The message of chat_document_prompt: one part alone, or both with an empty line between.
std::string document_message(const std::string& document, const std::string& question);

}  // namespace loci

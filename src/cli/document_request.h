// A document with a question, on its way to an engine: what `loci run` and `loci explain` have in common.
#pragma once

#include <string>

#include "cli/commands.h"
#include "cli/document_prompt.h"
#include "cli/model_options.h"
#include "cli/parser.h"
#include "loci/loci.h"

namespace loci {

struct DocumentInput {
  std::string file;    // the document; empty: none
  std::string prompt;  // the question; empty: none
  bool raw = false;    // no chat template
};

// -f, -p and --raw; `check_document_input` on the parsed line asks for one of the first two.
struct DocumentOptions {
  Option file;
  Option prompt;
};
DocumentOptions add_document_options(const Command& command, DocumentInput& input);

struct OpenDocument {
  Engine engine;  // with room for the prompt and the answer, and no more unless --ctx says so
  DocumentPrompt prompt;
  double load_seconds = 0;
};

Result<OpenDocument> open_document(const Console& console, const ModelOptions& model, const DocumentInput& input,
                                   uint32_t new_tokens);

}  // namespace loci

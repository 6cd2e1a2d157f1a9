#include "cli/document_request.h"

#include <algorithm>
#include <chrono>

#include "base/checked.h"
#include "cli/model_header.h"
#include "cli/text_input.h"

namespace loci {
namespace {

constexpr uint32_t kContextStep = 256;
// Tokens that a chat template may add around a message, default system prompts included.
constexpr uint32_t kTemplateTokens = 512;

// Room for the prompt and the answer and no more: the cache is what costs memory. Never beyond what the model was
// trained for; whether that is enough shows when the prompt is built.
Result<uint32_t> choose_context(const ModelHeader& header, const ModelOptions& model, const DocumentInput& input,
                                uint32_t new_tokens, const std::string& document) {
  if (model.context > 0) return model.context;
  LOCI_TRY(const uint32_t prompt, header.count_tokens(document_message(document, input.prompt)));
  const uint64_t wanted = uint64_t{prompt} + new_tokens + (input.raw ? 0 : kTemplateTokens);
  return static_cast<uint32_t>(std::min<uint64_t>(header.trained_context(), round_up(wanted, kContextStep)));
}

Status check_room(const DocumentPrompt& prompt, const ModelOptions& model, uint32_t new_tokens, const ModelInfo& info) {
  const uint64_t wanted = uint64_t{prompt.tokens.size()} + new_tokens;
  if (prompt.tokens.empty())
    return fail(ErrorCode::kInvalidArgument, "the prompt is empty: give -f FILE, -p PROMPT or both");
  if (wanted <= info.context) return {};
  if (model.context > 0) {
    return fail(ErrorCode::kLimit, "the prompt has {} tokens and -n asks for {}: {} do not fit --ctx {}",
                prompt.tokens.size(), new_tokens, wanted, info.context);
  }
  return fail(
      ErrorCode::kLimit,
      "the prompt has {} tokens and -n asks for {}: {} are more than the {} that '{}' was trained for; shorten the "
      "document or lower -n",
      prompt.tokens.size(), new_tokens, wanted, info.trained_context, info.name);
}

Result<DocumentPrompt> build_prompt(const Engine& engine, const DocumentInput& input, const std::string& document) {
  if (input.raw) return raw_prompt(engine, document, input.prompt);
  if (!engine.info().has_chat_template) {
    return fail(ErrorCode::kUnsupported,
                "model '{}' has no chat template: use --raw, which gives it the document and the prompt as they are",
                engine.info().name);
  }
  return chat_document_prompt(engine, document, input.prompt);
}

}  // namespace

DocumentOptions add_document_options(const Command& command, DocumentInput& input) {
  const Option file = command.add_option("-f,--file", input.file, "The document; - reads standard input");
  const Option prompt = command.add_option("-p,--prompt", input.prompt, "The question");
  file.type("FILE").group("Input");
  prompt.type("PROMPT").group("Input");
  command.add_flag("--raw", input.raw, "No chat template: FILE and PROMPT, concatenated").group("Input");
  return {file, prompt};
}

Result<OpenDocument> open_document(const Console& console, const ModelOptions& model, const DocumentInput& input,
                                   uint32_t new_tokens) {
  std::string document;
  if (!input.file.empty()) {
    LOCI_TRY(document, read_text(input.file, console));
  }
  LOCI_TRY(const std::filesystem::path path, find_model(model.model, console));
  EngineOptions options = engine_options(model);
  {
    LOCI_TRY(const ModelHeader header, ModelHeader::open(path));
    LOCI_TRY(options.context, choose_context(header, model, input, new_tokens, document));
  }
  const auto begin = std::chrono::steady_clock::now();
  LOCI_TRY(Engine engine, load_engine(path, options, console));
  const std::chrono::duration<double> loading = std::chrono::steady_clock::now() - begin;
  LOCI_TRY(DocumentPrompt prompt, build_prompt(engine, input, document));
  LOCI_CHECK(check_room(prompt, model, new_tokens, engine.info()));
  return OpenDocument{std::move(engine), std::move(prompt), loading.count()};
}

}  // namespace loci

#include "engine/loaded_model.h"

#include "engine/chat_prompt.h"
#include "io/model_file.h"

namespace loci {
namespace {

ModelInfo describe(const ModelFile& file, const Core& core, const Tokenizer& tokenizer) {
  const ModelMeasure& measured = core.model().measured();
  const ModelConfig& config = measured.config;
  ModelInfo info;
  info.name = config.name;
  info.architecture = config.architecture;
  info.format = file.format();
  info.parameters = measured.parameters;
  info.layers = config.layers;
  info.hidden = config.hidden;
  info.query_heads = config.query_heads;
  info.kv_heads = config.kv_heads;
  info.head_dim = config.head_dim;
  info.vocabulary = config.vocabulary;
  info.trained_context = config.trained_context;
  info.context = core.layout().context;
  info.attention = core.layout().attention.canonical();
  info.tokenizer = tokenizer.kind();
  info.weights_bytes = measured.weights_bytes;
  info.macs_per_token = measured.macs_per_token;
  info.head_macs = measured.head_macs;
  info.attention_macs_per_slot = uint64_t{2} * config.q_width() * config.layers;
  for (const LayerShape& layer : core.layout().layers) {
    info.kv_bytes_per_token += uint64_t{page_layout(layer.codec, layer.head_dim).bytes} * layer.kv_heads / kPageSlots;
  }
  return info;
}

}  // namespace

Result<LoadedModel> load_model(const std::string& path, const EngineOptions& options) {
  LOCI_TRY(const std::unique_ptr<ModelFile> file, open_model_file(path));
  LoadedModel out;
  LOCI_TRY(out.tokenizer, Tokenizer::load(*file));
  out.chat_template = load_chat_template(*file);
  LOCI_TRY(out.core, Core::load(*file, options));
  if (out.tokenizer->vocab_size() > out.core->model().config().vocabulary) {
    return fail(ErrorCode::kCorrupt, "the tokenizer has {} tokens, but the embedding only {} rows",
                out.tokenizer->vocab_size(), out.core->model().config().vocabulary);
  }
  out.info = describe(*file, *out.core, *out.tokenizer);
  out.info.has_chat_template = out.chat_template.has_value();
  return out;
}

Result<ChatPrompt> chat_prompt_of(const LoadedModel& model, std::span<const ChatMessage> messages,
                                  bool add_generation_prompt) {
  if (!model.chat_template) {
    return fail(ErrorCode::kUnsupported, "the model has no chat template; give it raw text");
  }
  if (!model.chat_template->ok()) return model.chat_template->error();
  return make_chat_prompt(**model.chat_template, *model.tokenizer, messages, add_generation_prompt);
}

}  // namespace loci

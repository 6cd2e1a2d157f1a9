#include "attention/attention_table.h"
#include "engine/chat_prompt.h"
#include "engine/engine_state.h"
#include "engine/fingerprint.h"
#include "engine/scheduler.h"
#include "engine/session_io.h"
#include "io/model_file.h"
#include "ops/kernel_table.h"

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

const char* to_string(Finish finish) {
  switch (finish) {
    case Finish::kLength:
      return "length";
    case Finish::kEnd:
      return "end";
    case Finish::kStop:
      return "stop";
    case Finish::kCancelled:
      return "cancelled";
  }
  return "?";
}

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

Result<Engine> Engine::load(const std::string& path, const EngineOptions& options) {
  LOCI_TRY(const std::unique_ptr<ModelFile> file, open_model_file(path));
  auto state = std::make_unique<State>();
  LOCI_TRY(state->tokenizer, Tokenizer::load(*file));
  state->chat_template = load_chat_template(*file);
  LOCI_TRY(state->core, Core::load(*file, options));
  if (state->tokenizer->vocab_size() > state->core->model().config().vocabulary) {
    return fail(ErrorCode::kCorrupt, "the tokenizer has {} tokens, but the embedding only {} rows",
                state->tokenizer->vocab_size(), state->core->model().config().vocabulary);
  }
  state->info = describe(*file, *state->core, *state->tokenizer);
  state->info.has_chat_template = state->chat_template.has_value();
  return Engine(std::move(state));
}

Result<MemoryPlan> Engine::plan(const std::string& path, const EngineOptions& options) {
  LOCI_TRY(const std::unique_ptr<ModelFile> file, open_model_file(path));
  LOCI_TRY(const Activations activations, parse_activations(options.activations));
  LOCI_TRY(const ModelMeasure measure, Model::measure(*file, activations));
  LOCI_TRY(const EngineLayout layout, lay_out(measure, model_fingerprint(*file), options,
                                              options.threads > 0 ? options.threads : cpu_info().cores));
  return layout.memory;
}

const ModelInfo& Engine::info() const { return state_->info; }
const MemoryPlan& Engine::memory_plan() const { return state_->core->layout().memory; }

EngineCounters Engine::counters() const {
  const ReadWork& work = state_->core->read_work();
  const PoolCounters pool = state_->core->pages().counters();
  return {.attention_bytes = work.bytes,
          .attention_macs = work.macs,
          .kv_bytes_in_use = pool.bytes_in_use,
          .kv_bytes_peak = pool.peak_bytes};
}

std::vector<std::string> Engine::kernels() const {
  std::vector<std::string> lines;
  for (const std::vector<KernelEntry>& table :
       {kernel_table(state_->core->isa()), attention_table(state_->core->isa())}) {
    for (const KernelEntry& entry : table) {
      lines.push_back(fmt::format("{} {}: {}", entry.operation, entry.variant, to_string(entry.isa)));
    }
  }
  return lines;
}

Result<std::vector<TokenId>> Engine::tokenize(std::string_view text, const TokenizeOptions& options) const {
  return state_->tokenizer->encode(text, {.add_special = options.add_special, .parse_special = options.parse_special});
}

Result<std::string> Engine::detokenize(std::span<const TokenId> tokens, bool special) const {
  return state_->tokenizer->decode(tokens, special);
}

Result<ChatPrompt> Engine::chat_prompt(std::span<const ChatMessage> messages, bool add_generation_prompt) const {
  if (!state_->chat_template) {
    return fail(ErrorCode::kUnsupported, "the model has no chat template; give it raw text");
  }
  if (!state_->chat_template->ok()) return state_->chat_template->error();
  return make_chat_prompt(**state_->chat_template, *state_->tokenizer, messages, add_generation_prompt);
}

Result<Completion> Engine::generate(const Request& request) { return std::move(generate(std::span(&request, 1))[0]); }

std::vector<Result<Completion>> Engine::generate(std::span<const Request> requests) {
  return Scheduler(*state_->core, *state_->tokenizer).run(requests);
}

Result<Session> Engine::open_session() {
  return Session(std::make_unique<Session::State>(Session::State{state_.get(), state_->core->new_sequence()}));
}

Result<Session> Engine::load_session(const std::string& path) {
  LOCI_TRY(Sequence sequence, load_sequence(*state_->core, path));
  return Session(std::make_unique<Session::State>(Session::State{state_.get(), std::move(sequence)}));
}

}  // namespace loci

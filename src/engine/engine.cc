#include "attention/attention_table.h"
#include "engine/engine_state.h"
#include "engine/fingerprint.h"
#include "engine/scheduler.h"
#include "engine/session_io.h"
#include "io/model_file.h"
#include "ops/kernel_table.h"

namespace loci {
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
  LOCI_TRY(LoadedModel model, load_model(path, options));
  return Engine(std::make_unique<State>(State{std::move(model)}));
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
          .select_seconds = state_->core->attention_seconds().select,
          .read_seconds = state_->core->attention_seconds().read,
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
  return chat_prompt_of(*state_, messages, add_generation_prompt);
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

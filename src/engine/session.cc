#include "engine/engine_state.h"
#include "engine/scheduler.h"
#include "engine/session_io.h"

namespace loci {

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

const std::vector<TokenId>& Session::tokens() const { return state_->sequence.tokens; }

Result<Completion> Session::generate(const Request& request) {
  return Scheduler(*state_->engine->core, *state_->engine->tokenizer).run(request, state_->sequence);
}

Result<Session> Session::fork() const {
  return Session(std::make_unique<State>(State{state_->engine, state_->sequence.fork()}));
}

Status Session::trim(uint32_t tokens) {
  Sequence& sequence = state_->sequence;
  if (tokens > sequence.tokens.size()) {
    return fail(ErrorCode::kInvalidArgument, "the session has {} tokens and cannot be trimmed to {}",
                sequence.tokens.size(), tokens);
  }
  // Where entries that are needed again were given back, everything is fed anew with the next request.
  if (!sequence.trim(tokens)) sequence.clear();
  sequence.tokens.resize(tokens);
  sequence.prompt_tokens = std::min(sequence.prompt_tokens, tokens);
  return {};
}

Status Session::save(const std::string& path) const {
  return save_sequence(*state_->engine->core, state_->sequence, path);
}

uint64_t Session::kv_bytes() const { return state_->sequence.cache.kv_bytes(); }

}  // namespace loci

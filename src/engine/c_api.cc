// The C API: checks pointers, translates structs (c_structs.h), calls loci.h, and lets nothing throw past it. It holds
// no logic of its own.
#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "base/error.h"
#include "engine/c_structs.h"
#include "loci/loci.h"
#include "loci/loci_c.h"

namespace loci {
namespace {

loci_code report(loci_error* error, loci_code code, const char* message) {
  if (error == nullptr) return code;
  error->code = code;
  size_t size = std::strlen(message);
  if (size >= sizeof(error->message)) {
    size = sizeof(error->message) - 1;
    while (size > 0 && (static_cast<unsigned char>(message[size]) & 0xc0) == 0x80) --size;
  }
  std::memcpy(error->message, message, size);
  error->message[size] = '\0';
  return code;
}

// Runs `body`, a Status, and turns what comes out of it, exceptions included, into a code.
template <typename Body>
loci_code guarded(loci_error* error, Body&& body) noexcept {
  try {
    const Status status = body();
    if (status.ok()) return report(error, LOCI_OK, "");
    return report(error, to_c(status.error().code), status.error().message.c_str());
  } catch (const std::bad_alloc&) {
    return report(error, LOCI_LIMIT, "the system has no more memory");
  } catch (const std::exception& e) {
    return report(error, LOCI_INTERNAL, e.what());
  } catch (...) {
    return report(error, LOCI_INTERNAL, "an unknown exception reached the C API");
  }
}

// The rule of caller's buffers, with `reserved` elements more than are counted (a terminating zero).
template <typename T>
Status fill(std::span<const T> from, T* to, size_t capacity, size_t* count, size_t reserved = 0) {
  *count = from.size();
  if (capacity == 0) return {};
  if (from.size() + reserved > capacity) {
    return fail(ErrorCode::kLimit, "the buffer holds {} elements, {} are needed", capacity, from.size() + reserved);
  }
  LOCI_CHECK(require(to, "buffer"));
  std::copy(from.begin(), from.end(), to);
  return {};
}

template <typename Target>
Status generate(Target& target, const loci_request* request, loci_completion** completion) {
  LOCI_TRY(const Request translated, from_c(request));
  LOCI_TRY(Completion done, target.generate(translated));
  *completion = to_c(std::move(done));
  return {};
}

}  // namespace
}  // namespace loci

using loci::fail;
using loci::fill;
using loci::guarded;
using loci::require;
using loci::Status;

const char* loci_code_name(loci_code code) noexcept {
  switch (code) {
    case LOCI_OK:
      return "ok";
    case LOCI_INVALID_ARGUMENT:
      return loci::to_string(loci::ErrorCode::kInvalidArgument);
    case LOCI_NOT_FOUND:
      return loci::to_string(loci::ErrorCode::kNotFound);
    case LOCI_CORRUPT:
      return loci::to_string(loci::ErrorCode::kCorrupt);
    case LOCI_UNSUPPORTED:
      return loci::to_string(loci::ErrorCode::kUnsupported);
    case LOCI_LIMIT:
      return loci::to_string(loci::ErrorCode::kLimit);
    case LOCI_IO:
      return loci::to_string(loci::ErrorCode::kIo);
    case LOCI_CANCELLED:
      return loci::to_string(loci::ErrorCode::kCancelled);
    case LOCI_INTERNAL:
      return loci::to_string(loci::ErrorCode::kInternal);
  }
  return "unknown code";
}

void loci_engine_options_init(loci_engine_options* options, size_t struct_size) noexcept {
  loci::init(options, struct_size, loci::default_options());
}
void loci_request_init(loci_request* request, size_t struct_size) noexcept {
  loci::init(request, struct_size, loci::default_request());
}
void loci_memory_plan_init(loci_memory_plan* plan, size_t struct_size) noexcept { loci::init(plan, struct_size, {}); }
void loci_model_info_init(loci_model_info* info, size_t struct_size) noexcept { loci::init(info, struct_size, {}); }

loci_code loci_engine_load(const char* path, const loci_engine_options* options, loci_engine** engine,
                           loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(engine, "engine"));
    *engine = nullptr;
    LOCI_CHECK(require(path, "path"));
    LOCI_TRY(const auto translated, loci::from_c(options));
    LOCI_TRY(auto loaded, loci::Engine::load(path, translated));
    *engine = new loci_engine{std::move(loaded)};
    return {};
  });
}

void loci_engine_free(loci_engine* engine) noexcept { delete engine; }

loci_code loci_plan(const char* path, const loci_engine_options* options, loci_memory_plan* plan,
                    loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(path, "path"));
    LOCI_CHECK(require(plan, "plan"));
    LOCI_TRY(const auto translated, loci::from_c(options));
    LOCI_TRY(const auto needed, loci::Engine::plan(path, translated));
    return loci::write_struct(loci::to_c(needed), plan, "loci_memory_plan");
  });
}

loci_code loci_engine_plan(const loci_engine* engine, loci_memory_plan* plan, loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(engine, "engine"));
    return loci::write_struct(loci::to_c(engine->engine.memory_plan()), plan, "loci_memory_plan");
  });
}

loci_code loci_engine_info(const loci_engine* engine, loci_model_info* info, loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(engine, "engine"));
    return loci::write_struct(loci::to_c(engine->engine.info()), info, "loci_model_info");
  });
}

loci_code loci_tokenize(const loci_engine* engine, const char* text, size_t text_bytes, uint32_t flags,
                        loci_token* tokens, size_t capacity, size_t* count, loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(engine, "engine"));
    LOCI_CHECK(require(count, "count"));
    LOCI_TRY(const auto given, loci::array(text, text_bytes, "text"));
    if ((flags & ~uint32_t{LOCI_ADD_SPECIAL | LOCI_PARSE_SPECIAL}) != 0) {
      return fail(loci::ErrorCode::kInvalidArgument, "the flags {:#x} hold bits that mean nothing", flags);
    }
    LOCI_TRY(const auto ids, engine->engine.tokenize({given.data(), given.size()},
                                                     {.add_special = (flags & LOCI_ADD_SPECIAL) != 0,
                                                      .parse_special = (flags & LOCI_PARSE_SPECIAL) != 0}));
    return fill(std::span<const loci_token>(ids), tokens, capacity, count);
  });
}

loci_code loci_detokenize(const loci_engine* engine, const loci_token* tokens, size_t count, int special, char* text,
                          size_t capacity, size_t* bytes, loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(engine, "engine"));
    LOCI_CHECK(require(bytes, "bytes"));
    LOCI_TRY(const auto given, loci::array(tokens, count, "tokens"));
    LOCI_TRY(const std::string decoded, engine->engine.detokenize(given, special != 0));
    LOCI_CHECK(fill(std::span<const char>(decoded), text, capacity, bytes, 1));
    if (capacity > 0) text[decoded.size()] = '\0';
    return {};
  });
}

loci_code loci_chat_prompt(const loci_engine* engine, const loci_message* messages, size_t message_count,
                           int add_generation_prompt, loci_token* tokens, size_t capacity, size_t* count,
                           loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(engine, "engine"));
    LOCI_CHECK(require(count, "count"));
    LOCI_TRY(const auto given, loci::array(messages, message_count, "messages"));
    std::vector<loci::ChatMessage> translated;
    for (const loci_message& message : given) {
      LOCI_CHECK(require(message.role, "messages[i].role"));
      LOCI_CHECK(require(message.content, "messages[i].content"));
      translated.push_back({message.role, message.content});
    }
    LOCI_TRY(const auto prompt, engine->engine.chat_prompt(translated, add_generation_prompt != 0));
    return fill(std::span<const loci_token>(prompt.tokens), tokens, capacity, count);
  });
}

loci_code loci_cancel_new(loci_cancel** cancel, loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(cancel, "cancel"));
    *cancel = nullptr;
    *cancel = new loci_cancel;
    return {};
  });
}

void loci_cancel_free(loci_cancel* cancel) noexcept { delete cancel; }

void loci_cancel_set(loci_cancel* cancel) noexcept {
  if (cancel != nullptr) cancel->set.store(true);
}

void loci_cancel_clear(loci_cancel* cancel) noexcept {
  if (cancel != nullptr) cancel->set.store(false);
}

void loci_completion_free(loci_completion* completion) noexcept {
  delete static_cast<loci::OwnedCompletion*>(completion);
}

loci_code loci_generate(loci_engine* engine, const loci_request* request, loci_completion** completion,
                        loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(completion, "completion"));
    *completion = nullptr;
    LOCI_CHECK(require(engine, "engine"));
    return loci::generate(engine->engine, request, completion);
  });
}

loci_code loci_score(loci_engine* engine, const loci_token* tokens, size_t count, uint32_t window,
                     const loci_cancel* cancel, float* nll, loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(engine, "engine"));
    LOCI_TRY(const auto given, loci::array(tokens, count, "tokens"));
    if (count > 1) LOCI_CHECK(require(nll, "nll"));
    LOCI_TRY(const auto scores, engine->engine.score(given, window, cancel == nullptr ? nullptr : &cancel->set));
    std::transform(scores.begin(), scores.end(), nll, [](const loci::TokenScore& s) { return s.nll; });
    return {};
  });
}

loci_code loci_session_open(loci_engine* engine, loci_session** session, loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(session, "session"));
    *session = nullptr;
    LOCI_CHECK(require(engine, "engine"));
    LOCI_TRY(auto opened, engine->engine.open_session());
    *session = new loci_session{std::move(opened)};
    return {};
  });
}

void loci_session_free(loci_session* session) noexcept { delete session; }

loci_code loci_session_generate(loci_session* session, const loci_request* request, loci_completion** completion,
                                loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(completion, "completion"));
    *completion = nullptr;
    LOCI_CHECK(require(session, "session"));
    return loci::generate(session->session, request, completion);
  });
}

loci_code loci_session_fork(const loci_session* session, loci_session** fork, loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(fork, "fork"));
    *fork = nullptr;
    LOCI_CHECK(require(session, "session"));
    LOCI_TRY(auto forked, session->session.fork());
    *fork = new loci_session{std::move(forked)};
    return {};
  });
}

loci_code loci_session_trim(loci_session* session, uint32_t tokens, loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(session, "session"));
    return session->session.trim(tokens);
  });
}

loci_code loci_session_save(const loci_session* session, const char* path, loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(session, "session"));
    LOCI_CHECK(require(path, "path"));
    return session->session.save(path);
  });
}

loci_code loci_session_load(loci_engine* engine, const char* path, loci_session** session, loci_error* error) noexcept {
  return guarded(error, [&]() -> Status {
    LOCI_CHECK(require(session, "session"));
    *session = nullptr;
    LOCI_CHECK(require(engine, "engine"));
    LOCI_CHECK(require(path, "path"));
    LOCI_TRY(auto loaded, engine->engine.load_session(path));
    *session = new loci_session{std::move(loaded)};
    return {};
  });
}

const loci_token* loci_session_tokens(const loci_session* session, size_t* count) noexcept {
  if (session == nullptr) {
    if (count != nullptr) *count = 0;
    return nullptr;
  }
  const auto& tokens = session->session.tokens();
  if (count != nullptr) *count = tokens.size();
  return tokens.data();
}

uint64_t loci_session_kv_bytes(const loci_session* session) noexcept {
  return session == nullptr ? 0 : session->session.kv_bytes();
}

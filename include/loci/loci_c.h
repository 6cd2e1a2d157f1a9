// Loci for C and for every language that can call C: the same engine as loci.h, as opaque objects and plain structs.
//
//   loci_engine* engine = NULL;
//   loci_error error;
//   if (loci_engine_load("model.gguf", NULL, &engine, &error) != LOCI_OK) { puts(error.message); return 1; }
//
// Errors. Functions that can fail return LOCI_OK or a code; `error` (may be NULL) then gets the code and one
// sentence. No function throws, exits or prints. Objects come back as NULL after an error; other outputs then mean
// nothing.
//
// Ownership. An object that a function returns through a `**` argument belongs to the caller, who frees it with the
// function named after it (loci_engine_free, loci_session_free, loci_completion_free, loci_cancel_free; all take
// NULL). Arguments are copied or used only during the call. Text is UTF-8; text that Loci returns ends in a zero byte
// as well.
//
// Buffers. Functions that fill a caller's array of `capacity` elements set `*count` to the number that there is. If
// that is more than `capacity` they write nothing and return LOCI_LIMIT. A capacity of 0 (the array may be NULL) asks
// for the count alone and returns LOCI_OK.
//
// Growth. Structs of options, requests and reports begin with `struct_size`; loci_..._init(&it, sizeof(it)) sets it
// and the defaults. So a program built with an older header keeps working with a newer library, and a newer program
// learns from an error that an older library does not know a field that it sets.
//
// Threads. An engine and its sessions are used by one thread at a time. Only loci_cancel_set and loci_cancel_clear
// may be called from any thread, and from a signal handler. Sessions are freed before their engine. A callback runs
// on the thread of the call it belongs to; it must not use the engine.
#ifndef LOCI_LOCI_C_H_
#define LOCI_LOCI_C_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define LOCI_NOEXCEPT noexcept
extern "C" {
#else
#define LOCI_NOEXCEPT
#endif

typedef struct loci_engine loci_engine;   /* weights, cache and threads */
typedef struct loci_session loci_session; /* one conversation: tokens and pages */
typedef struct loci_cancel loci_cancel;   /* a flag that stops work in progress */

typedef int32_t loci_token;

typedef enum loci_code {
  LOCI_OK = 0,
  LOCI_INVALID_ARGUMENT = 1, /* the caller asked for something that has no meaning */
  LOCI_NOT_FOUND = 2,        /* a file, tensor, key or name does not exist */
  LOCI_CORRUPT = 3,          /* data from outside contradicts itself or its format */
  LOCI_UNSUPPORTED = 4,      /* well-formed, but not something this build can do */
  LOCI_LIMIT = 5,            /* a stated limit (memory, context, buffer) would be exceeded */
  LOCI_IO = 6,               /* the operating system or the network refused */
  LOCI_CANCELLED = 7,        /* the caller asked to stop */
  LOCI_INTERNAL = 8          /* a mistake of Loci's own */
} loci_code;

typedef struct loci_error {
  loci_code code;
  char message[512]; /* what, which value, which limit, what to do; cut at a whole character if longer */
} loci_error;

/* "ok", "invalid argument", ... */
const char* loci_code_name(loci_code code) LOCI_NOEXCEPT;

/* ---- Engine ---------------------------------------------------------------------------------------------------- */

typedef struct loci_engine_options {
  size_t struct_size;
  int32_t threads;  /* 0: every core this process may use */
  uint32_t context; /* tokens one sequence may hold; 0: what the model was trained for */
  uint32_t batch;   /* sequences alive at once, for the memory plan */
  uint32_t chunk;   /* prompt tokens per forward pass */
  /* Three texts of which NULL is the library's default; loci.h says what they mean. */
  const char* attention;       /* the plan, such as "dense" or "store=kv4" */
  const char* isa;             /* "auto", "scalar", "avx2", "avx512", "amx" */
  const char* activations;     /* "int16", "int8", "f32" */
  uint64_t memory_limit_bytes; /* refuse what needs more; 0: what the machine has free */
  int32_t prefix_cache;        /* 1: keep the pages of finished prompts for later ones */
  /* Called while weights load with the share done in [0, 1]; anything but 0 stops with LOCI_CANCELLED. May be NULL. */
  int (*on_load)(double share, void* user);
  void* on_load_user;
} loci_engine_options;
void loci_engine_options_init(loci_engine_options* options, size_t struct_size) LOCI_NOEXCEPT;

typedef struct loci_memory_plan {
  size_t struct_size;
  uint64_t weights_bytes;
  uint64_t kv_bytes;
  uint64_t state_bytes;
  uint64_t scratch_bytes;
  uint64_t total_bytes;
  uint64_t available_bytes;
  int32_t fits; /* 1 or 0 */
} loci_memory_plan;
void loci_memory_plan_init(loci_memory_plan* plan, size_t struct_size) LOCI_NOEXCEPT;

typedef struct loci_model_info {
  size_t struct_size;
  /* Texts belong to the engine and live as long as it. */
  const char* name;
  const char* architecture;
  const char* format;
  const char* attention; /* the plan, in canonical form */
  const char* tokenizer;
  uint64_t parameters;
  uint32_t layers;
  uint32_t hidden;
  uint32_t query_heads;
  uint32_t kv_heads;
  uint32_t head_dim;
  uint32_t vocabulary;
  uint32_t trained_context;
  uint32_t context; /* of this engine */
  int32_t has_chat_template;
  uint64_t weights_bytes;
  uint64_t kv_bytes_per_token;
} loci_model_info;
void loci_model_info_init(loci_model_info* info, size_t struct_size) LOCI_NOEXCEPT;

/* Opens a GGUF file or a Hugging Face folder. `options` NULL: the defaults. */
loci_code loci_engine_load(const char* path, const loci_engine_options* options, loci_engine** engine,
                           loci_error* error) LOCI_NOEXCEPT;
void loci_engine_free(loci_engine* engine) LOCI_NOEXCEPT;
/* What loci_engine_load would need with these options; reads only the model's header. */
loci_code loci_plan(const char* path, const loci_engine_options* options, loci_memory_plan* plan,
                    loci_error* error) LOCI_NOEXCEPT;
loci_code loci_engine_plan(const loci_engine* engine, loci_memory_plan* plan, loci_error* error) LOCI_NOEXCEPT;
loci_code loci_engine_info(const loci_engine* engine, loci_model_info* info, loci_error* error) LOCI_NOEXCEPT;

/* ---- Text and tokens ------------------------------------------------------------------------------------------- */

enum {
  LOCI_ADD_SPECIAL = 1,  /* BOS and EOS where the model asks for them */
  LOCI_PARSE_SPECIAL = 2 /* "<|im_end|>" in the text is that token; otherwise it is plain text */
};

/* `flags` is a sum of the constants above. */
loci_code loci_tokenize(const loci_engine* engine, const char* text, size_t text_bytes, uint32_t flags,
                        loci_token* tokens, size_t capacity, size_t* count, loci_error* error) LOCI_NOEXCEPT;
/* `*bytes` does not count the terminating zero; `capacity` must exceed it. `special`: special tokens give their text.
 */
loci_code loci_detokenize(const loci_engine* engine, const loci_token* tokens, size_t count, int special, char* text,
                          size_t capacity, size_t* bytes, loci_error* error) LOCI_NOEXCEPT;

typedef struct loci_message {
  const char* role; /* "system", "user", "assistant", "tool" */
  const char* content;
} loci_message;

/* The model's chat template applied to the messages, as tokens. LOCI_UNSUPPORTED if the model has none. */
loci_code loci_chat_prompt(const loci_engine* engine, const loci_message* messages, size_t message_count,
                           int add_generation_prompt, loci_token* tokens, size_t capacity, size_t* count,
                           loci_error* error) LOCI_NOEXCEPT;

/* ---- Generation ------------------------------------------------------------------------------------------------ */

loci_code loci_cancel_new(loci_cancel** cancel, loci_error* error) LOCI_NOEXCEPT;
void loci_cancel_free(loci_cancel* cancel) LOCI_NOEXCEPT;
void loci_cancel_set(loci_cancel* cancel) LOCI_NOEXCEPT;   /* stop */
void loci_cancel_clear(loci_cancel* cancel) LOCI_NOEXCEPT; /* before it is used again */

typedef struct loci_progress {
  uint32_t prompt_done;
  uint32_t prompt_total;
  uint32_t generated;
  double seconds; /* since the request began */
} loci_progress;

typedef struct loci_request {
  size_t struct_size;
  const loci_token* prompt;
  size_t prompt_count;
  uint32_t max_new_tokens;
  float temperature;          /* 0: greedy */
  uint32_t top_k;             /* 0: off */
  float top_p;                /* 1: off */
  float min_p;                /* 0: off */
  float repetition_penalty;   /* 1: off */
  uint32_t repetition_window; /* last tokens the penalty looks at */
  uint64_t seed;
  const char* const* stop; /* generation ends before the first of these texts appears */
  size_t stop_count;
  int32_t ignore_eos;
  const loci_cancel* cancel; /* may be NULL */
  /* Whole characters, as they come; `text` is terminated by a zero byte. May be NULL. */
  void (*on_text)(const char* text, size_t bytes, void* user);
  /* After each forward pass. May be NULL. */
  void (*on_progress)(const loci_progress* progress, void* user);
  void* user; /* handed to both */
} loci_request;
void loci_request_init(loci_request* request, size_t struct_size) LOCI_NOEXCEPT;

typedef enum loci_finish {
  LOCI_FINISH_LENGTH = 0,   /* max_new_tokens, or the context is full */
  LOCI_FINISH_END = 1,      /* the model ended its text */
  LOCI_FINISH_STOP = 2,     /* a stop text */
  LOCI_FINISH_CANCELLED = 3 /* loci_cancel_set */
} loci_finish;

/* Made and freed by Loci; a newer library may append fields. */
typedef struct loci_completion {
  const char* text;
  size_t text_bytes;
  const loci_token* tokens; /* generated, without the token that ended the text */
  size_t token_count;
  loci_finish finish;
  uint32_t prompt_tokens;
  uint32_t cached_tokens; /* of the prompt, taken from earlier work */
  double prefill_seconds;
  double decode_seconds; /* of decode_steps steps after the first token */
  uint32_t decode_steps;
  uint64_t kv_bytes;
  uint64_t kept_tokens;
} loci_completion;
void loci_completion_free(loci_completion* completion) LOCI_NOEXCEPT;

/* One request from an empty sequence. */
loci_code loci_generate(loci_engine* engine, const loci_request* request, loci_completion** completion,
                        loci_error* error) LOCI_NOEXCEPT;

/* Negative log-likelihood (nats) of every token but the first, into nll[0 .. count - 2]. Windows of `window` tokens
 * begin anew; 0: one window. `cancel` may be NULL. */
loci_code loci_score(loci_engine* engine, const loci_token* tokens, size_t count, uint32_t window,
                     const loci_cancel* cancel, float* nll, loci_error* error) LOCI_NOEXCEPT;

/* ---- Sessions -------------------------------------------------------------------------------------------------- */

loci_code loci_session_open(loci_engine* engine, loci_session** session, loci_error* error) LOCI_NOEXCEPT;
void loci_session_free(loci_session* session) LOCI_NOEXCEPT;
/* Appends request->prompt, then generates. Cancelled or failed, the session keeps what was finished. */
loci_code loci_session_generate(loci_session* session, const loci_request* request, loci_completion** completion,
                                loci_error* error) LOCI_NOEXCEPT;
/* A second session with the same tokens; the pages are shared until one of the two writes. */
loci_code loci_session_fork(const loci_session* session, loci_session** fork, loci_error* error) LOCI_NOEXCEPT;
/* Forgets all but the first `tokens` tokens. */
loci_code loci_session_trim(loci_session* session, uint32_t tokens, loci_error* error) LOCI_NOEXCEPT;
/* Writes a file, whole or not at all. */
loci_code loci_session_save(const loci_session* session, const char* path, loci_error* error) LOCI_NOEXCEPT;
/* Reads a file that was saved with the same model and plan; LOCI_INVALID_ARGUMENT says what differs. */
loci_code loci_session_load(loci_engine* engine, const char* path, loci_session** session,
                            loci_error* error) LOCI_NOEXCEPT;
/* Everything fed and generated so far; valid until the session is used again. NULL and 0 for NULL. */
const loci_token* loci_session_tokens(const loci_session* session, size_t* count) LOCI_NOEXCEPT;
uint64_t loci_session_kv_bytes(const loci_session* session) LOCI_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#undef LOCI_NOEXCEPT

#endif /* LOCI_LOCI_C_H_ */

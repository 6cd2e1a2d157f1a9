// Loci: a long-context LLM inference engine. This header is the whole C++ API; its C counterpart is loci_c.h.
//
//   auto engine = loci::Engine::load("model.gguf", {});
//   auto tokens = engine->tokenize("Once upon a time");
//   auto done   = engine->generate({.prompt = *tokens, .max_new_tokens = 64});
//   puts(done->text.c_str());
//
// An Engine owns a model's weights, one cache of pages and a pool of threads. It is used by one thread at a time; only
// a Request's `cancelled` flag may be set from elsewhere (a signal handler included).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loci/result.h"
#include "loci/types.h"

namespace loci {

struct EngineOptions {
  int threads = 0;       // 0: every core this process may use
  uint32_t context = 0;  // tokens one sequence may hold; 0: what the model was trained for
  uint32_t batch = 1;    // sequences alive at once, for the memory plan
  uint32_t chunk = 512;  // prompt tokens per forward pass, 1 or more
  // The plan: which tokens are kept, stored, selected, mixed. Without a store clause a model is stored as it was
  // quantized for, or in 16 bits.
  std::string attention = "dense";
  std::string isa = "auto";  // auto, scalar, avx2, avx512, amx
  // How activations meet quantized weights. "int16": rounded to up to 16 bits, 8 where columns do not stick out of
  // their block, in integer dot products; next-token log-probabilities are within 0.02 of fp32 on the mean. "int8": 8
  // bits everywhere, off by about 0.06. "f32": weights decoded and multiplied in fp32, slow, the yardstick of the
  // others.
  std::string activations = "int16";
  uint64_t memory_limit_bytes = 0;  // refuse what needs more; 0: what the machine has free
  uint64_t kv_bytes = 0;            // of the cache; 0: what `batch` sequences of `context` tokens take
  bool prefix_cache = true;         // keep the pages of finished prompts for later ones
  // Called while weights load with the share done in [0, 1]; return false to stop (kCancelled).
  std::function<bool(double share)> on_load = {};
};

// What a model, a context and a plan need, byte for byte, before anything is allocated.
struct MemoryPlan {
  uint64_t weights_bytes = 0;  // packed weights
  uint64_t kv_bytes = 0;       // pages of `batch` sequences of `context` tokens, at their peak
  uint64_t state_bytes = 0;    // recurrent and method state
  uint64_t scratch_bytes = 0;  // activations, partial reads, logits, tables, pages that forks copy
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;
  bool fits = false;
};

struct ModelInfo {
  std::string name;
  std::string architecture;
  std::string format;  // "GGUF v3", "safetensors"
  uint64_t parameters = 0;
  uint32_t layers = 0;
  uint32_t hidden = 0;
  uint32_t query_heads = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t vocabulary = 0;
  uint32_t trained_context = 0;
  uint32_t context = 0;   // of this engine
  std::string attention;  // the plan, in canonical form
  std::string tokenizer;
  bool has_chat_template = false;
  uint64_t weights_bytes = 0;
  // Per token of a forward pass, without attention: multiply-accumulates of all projections, LM head apart.
  uint64_t macs_per_token = 0;
  uint64_t head_macs = 0;                // of the LM head, per row of logits
  uint64_t attention_macs_per_slot = 0;  // of one query token reading one earlier token, all layers
  uint64_t kv_bytes_per_token = 0;
};

// What an engine has done and holds.
struct EngineCounters {
  uint64_t attention_bytes = 0;  // of cached entries that attention has read
  uint64_t attention_macs = 0;   // multiply-accumulates of scores and weighted values
  double select_seconds = 0;     // in what methods do before and after attention reads
  double read_seconds = 0;       // in attention's reads
  uint64_t kv_bytes_in_use = 0;  // of pages that sequences or the prefix cache hold
  uint64_t kv_bytes_peak = 0;    // the most that has been held at once
};

struct LogitBias {
  TokenId token = 0;
  float bias = 0.0F;  // added to the token's logit
};

struct Sampling {
  float temperature = 0.0F;  // 0: greedy, the lowest id wins a tie
  uint32_t top_k = 0;        // 0: off
  float top_p = 1.0F;        // 1: off
  float min_p = 0.0F;        // 0: off
  float repetition_penalty = 1.0F;
  uint32_t repetition_window = 64;  // last tokens the penalty looks at
  float presence_penalty = 0.0F;    // taken off the logit of every token that was generated
  float frequency_penalty = 0.0F;   // the same, for each time that it was
  std::vector<LogitBias> logit_bias = {};
  uint64_t seed = 0;
};

// A token and how likely the model held it, before sampling changed anything.
struct TokenChance {
  TokenId token = 0;
  float logprob = 0;
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
  std::vector<TokenChance> top = {};  // the most likely tokens, in descending order
};

// What an answer must look like: a language over tokens, asked step by step. One request's own; one thread at a time.
class Constraint {
 public:
  virtual ~Constraint() = default;
  // Sets the logits of tokens that may not come next to -infinity. Leaves at least one. An error ends the request.
  virtual Status mask(std::span<float> logits) = 0;
  // The token that came.
  virtual void accept(TokenId token) = 0;
  // Nothing may follow: the answer ends here.
  virtual bool complete() const = 0;
};

struct Progress {
  uint32_t prompt_done = 0;
  uint32_t prompt_total = 0;
  uint32_t generated = 0;
  double seconds = 0;  // since the request began
};

struct Request {
  std::vector<TokenId> prompt = {};
  uint32_t max_new_tokens = 256;
  Sampling sampling = {};
  std::vector<std::string> stop = {};  // generation ends before the first of these appears
  bool ignore_eos = false;
  std::vector<LabelledSpan> spans = {};
  std::string salt = {};  // pages of prompts are shared with requests of the same salt only
  std::string task = {};  // what the request is for, in a word; methods that treat tasks differently read it
  const std::atomic<bool>* cancelled = nullptr;                    // looked at between layers
  std::function<void(std::string_view text)> on_text = {};         // whole characters, as they come
  uint32_t top_logprobs = 0;                                       // alternatives that on_token is told of
  std::function<void(const TokenLogprob& token)> on_token = {};    // each token, before its text
  std::shared_ptr<Constraint> constraint = {};                     // null: anything may be said
  std::function<void(const Progress& progress)> on_progress = {};  // after each forward pass
};

enum class Finish { kLength, kEnd, kStop, kCancelled };
const char* to_string(Finish finish);  // "length", "end", "stop", "cancelled"

struct Completion {
  std::string text;
  std::vector<TokenId> tokens;  // generated, without the token that ended the text
  Finish finish = Finish::kLength;
  uint32_t prompt_tokens = 0;  // of these, where the request was cancelled: those that had been read
  uint32_t cached_tokens = 0;  // of the prompt, taken from earlier work
  double prefill_seconds = 0;
  double decode_seconds = 0;  // of `decode_steps` steps after the first token
  uint32_t decode_steps = 0;
  uint64_t kv_bytes = 0;     // of this sequence's pages at the end
  uint64_t kept_tokens = 0;  // mean entries per KV head at the end
};

// What a head's reads hold of its attention over all that it keeps: means over rows and query heads.
struct HeadCoverage {
  float mass = 1;        // share of that attention, in [0, 1]
  float error = 0;       // |o - o'| / |o'| of the output, where o' comes from a read of all that is kept
  uint64_t queries = 0;  // 0: there were none, or nobody asked
};

// What became of a sequence in one KV head under a plan, by stretches of positions: shares in [0, 1].
struct HeadPicture {
  uint32_t layer = 0;
  uint32_t kv_head = 0;
  std::vector<float> kept;       // of the entries, at the end
  std::vector<float> in_prompt;  // of what the prompt's queries could see: read
  std::vector<float> in_decode;  // the same of the tokens that were generated
  HeadCoverage prompt_coverage = {}, decode_coverage = {};
};

struct ExplainOptions {
  uint32_t stretches = 256;  // equal ones that the sequence is cut into, at most; 1 to 4096
  bool coverage = false;     // read everything beside each read: takes as long again as a dense plan
};

struct Explanation {
  Completion completion;
  uint32_t tokens = 0;     // of the sequence that were read
  uint32_t stretches = 0;  // equal ones, the last one possibly shorter
  std::vector<HeadPicture> heads;
};

// How well the model foresaw one token.
struct TokenScore {
  float nll = 0;       // negative log-likelihood, nats
  TokenId argmax = 0;  // the token it held most likely, the lowest id of equals
  float gap = 0;       // log-probability of that token minus the second one's
};

struct ScoreOptions {
  uint32_t window = 0;  // windows of so many tokens do not overlap and each begins anew; 0: one window
  // Tokens of a window that are read as a prompt; those behind them are read one by one, as decode steps, so that a
  // plan does what it does when it generates. 0: all are a prompt. More than a window has: likewise.
  uint32_t prompt_tokens = 0;
  const std::atomic<bool>* cancelled = nullptr;
  std::function<void(const Progress& progress)> on_progress = {};
};

// What to watch while a request is answered: the model's logits where a given text goes on.
struct Probe {
  // Tokens that follow the prompt. Empty: those that the request itself generates.
  std::vector<TokenId> expected = {};
  // Row i foresees expected[i] from the prompt and expected[0] .. expected[i - 1], all of which are decode steps. Rows
  // come in order, each once; the logits are valid during the call.
  std::function<void(uint32_t row, std::span<const float> logits)> on_logits = {};
};

struct TokenizeOptions {
  bool add_special = true;
  bool parse_special = true;
};

struct ChatPrompt {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<LabelledSpan> spans;
};

class Engine;

// One conversation: its tokens and its pages. Forking shares the pages; the fork and the original then go their own
// ways. A Session must not outlive its Engine.
class Session {
 public:
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  const std::vector<TokenId>& tokens() const;  // everything fed and generated so far
  // Appends request.prompt, then generates. On kCancelled or an error the session keeps what was finished; kLimit, if
  // its pages cannot fit beside those of other open sessions, comes before it begins.
  Result<Completion> generate(const Request& request);
  Result<Session> fork() const;
  // Forgets all but the first `tokens` tokens.
  Status trim(uint32_t tokens);
  // Writes tokens and pages to a file, whole or not at all.
  Status save(const std::string& path) const;
  uint64_t kv_bytes() const;

 private:
  friend class Engine;
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class Engine {
 public:
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

  // Opens and packs the model. `path` is a GGUF file or a Hugging Face folder.
  static Result<Engine> load(const std::string& path, const EngineOptions& options);
  // The memory plan of load() with these options; reads only the file's header.
  static Result<MemoryPlan> plan(const std::string& path, const EngineOptions& options);

  const ModelInfo& info() const;
  const MemoryPlan& memory_plan() const;
  EngineCounters counters() const;
  // Lines of "operation: instruction set" for the kernels this engine runs.
  std::vector<std::string> kernels() const;

  Result<std::vector<TokenId>> tokenize(std::string_view text, const TokenizeOptions& options = {}) const;
  Result<std::string> detokenize(std::span<const TokenId> tokens, bool special = false) const;
  // Applies the model's chat template; kUnsupported if the model has none.
  Result<ChatPrompt> chat_prompt(std::span<const ChatMessage> messages, bool add_generation_prompt = true) const;

  // One request from an empty sequence (or from the longest prefix that the cache holds).
  Result<Completion> generate(const Request& request);
  // Several requests in ragged batches: prompts and decode steps share forward passes. One result per request, in
  // order.
  std::vector<Result<Completion>> generate(std::span<const Request> requests);

  // One request as above, from an empty sequence, with the logits that `probe` asks for. Where the answer leaves
  // probe.expected, a fork of the sequence reads on, so that the prompt is read once.
  Result<Completion> generate(const Request& request, const Probe& probe);

  // A score for each token after the first, given those before it in its window.
  Result<std::vector<TokenScore>> score(std::span<const TokenId> tokens, const ScoreOptions& options);
  // The same with all of a window read as a prompt.
  Result<std::vector<TokenScore>> score(std::span<const TokenId> tokens, uint32_t window = 0,
                                        const std::atomic<bool>* cancelled = nullptr,
                                        const std::function<void(const Progress&)>& on_progress = {});

  // One request, alone and without the prefix cache, watched.
  Result<Explanation> explain(const Request& request, const ExplainOptions& options = {});

  Result<Session> open_session();
  // A session written by Session::save with the same model and plan; kInvalidArgument names what differs.
  Result<Session> load_session(const std::string& path);

 private:
  friend class Session;
  struct State;
  explicit Engine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace loci

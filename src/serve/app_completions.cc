// Requests for text: from what was read to what the batcher gets, and the answer that waits for it.
#include <openssl/sha.h>

#include <algorithm>
#include <ctime>

#include "base/error.h"
#include "serve/app.h"
#include "serve/completion_answer.h"
#include "serve/response_answer.h"
#include "text/json_grammar.h"

namespace loci {

using nlohmann::ordered_json;

std::optional<ApiError> App::read_chat(const SharedAsked& asked, const ordered_json& body) {
  return begin_answer(asked, read_chat_request(body, request_limits()));
}

std::optional<ApiError> App::read_completion(const SharedAsked& asked, const ordered_json& body) {
  return begin_answer(asked, read_completion_request(body, request_limits()));
}

std::optional<ApiError> App::read_response(const SharedAsked& asked, const ordered_json& body) {
  return begin_answer(asked, read_response_request(body, request_limits()));
}

std::optional<ApiError> App::begin_answer(const SharedAsked& asked, ReadRequest read) {
  if (const ApiError* error = std::get_if<ApiError>(&read)) return *error;
  CompletionRequest request = std::move(std::get<CompletionRequest>(read));
  if (const auto error = check_model(request.model)) return error;
  std::shared_ptr<GrammarMasks> grammar;
  if (!request.response_format.is_null() || request.must_call()) {
    if (const auto error = find_grammar(request, grammar)) return error;
  }
  std::vector<BatchRequest> batch;
  if (const auto error = make_requests(request, *asked, grammar, batch)) return error;
  if (asked->route->path.ends_with("/tokens")) {
    if (const auto error = check_plan(request.attention)) return error;
    count_tokens(*asked, batch);
  } else {
    submit_answer(asked, std::move(request), std::move(batch));
  }
  return std::nullopt;
}

// As the engine does when the request begins; what is made for it is thrown away.
std::optional<ApiError> App::check_plan(const std::string& attention) const {
  if (attention.empty()) return std::nullopt;
  const Core& core = *loop_->model().core;
  const Result<PlanLayout> plan = lay_out_plan(core.model().config(), core.fingerprint(), attention,
                                               core.layout().context, core.layout().chunk, core.layout().threads);
  if (plan.ok()) return std::nullopt;
  ApiError error = api_error(plan.error());
  error.param = "attention";
  return error;
}

// What the request would read, of a request that is not made.
void App::count_tokens(const Asked& asked, const std::vector<BatchRequest>& batch) {
  uint64_t tokens = 0;
  for (const BatchRequest& one : batch) tokens += one.choices.front().prompt.size();
  end_use(asked, 0);
  const ordered_json out = {
      {"object", "prompt_tokens"}, {"prompt_tokens", tokens}, {"context_length", loop_->model().info.context}};
  reply(asked, json_reply(200, out.dump()));
}

namespace {

// Of a text of any length.
std::string grammar_digest(std::string_view text) {
  std::string out(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(out.data()));
  return out;
}

// Of a call of one of the tools, or of the one that is chosen by name.
Result<Grammar> call_grammar(const ordered_json& tools, const ordered_json& choice) {
  std::vector<FunctionSchema> functions;
  for (const ordered_json& tool : tools) {
    const ordered_json& function = tool["function"];
    FunctionSchema one{.name = function["name"], .parameters = nullptr};
    if (function.contains("parameters") && function["parameters"].is_object()) one.parameters = &function["parameters"];
    if (choice.is_object() && choice["function"]["name"] != one.name) continue;
    functions.push_back(std::move(one));
  }
  if (functions.empty()) return fail(ErrorCode::kInvalidArgument, "'tool_choice' names none of the tools");
  return tool_call_grammar(functions);
}

// What tells a model of its tools, for templates that know of none: the form that Hermes and Qwen were trained on.
std::string describe_tools(const ordered_json& tools) {
  std::string out = "You may call functions. Their signatures are JSON in <tools></tools>:\n<tools>\n";
  for (const ordered_json& tool : tools) out += dump(tool) + "\n";
  out +=
      "</tools>\nTo call one, write a JSON object with its name and arguments in "
      "<tool_call></tool_call>:\n<tool_call>\n"
      "{\"name\": NAME, \"arguments\": {...}}\n</tool_call>";
  return out;
}

}  // namespace

std::optional<ApiError> App::find_grammar(const CompletionRequest& request, std::shared_ptr<GrammarMasks>& out) {
  constexpr size_t kMostGrammars = 32;
  const bool must_call = request.must_call();
  const bool any_object = !must_call && request.response_format["type"] == "json_object";
  const ordered_json none;
  const ordered_json& schema = must_call || any_object ? none : request.response_format["json_schema"]["schema"];
  std::string key = grammar_digest(must_call    ? "call" + dump(request.tools) + dump(request.tool_choice)
                                   : any_object ? "object"
                                                : "schema" + dump(schema));
  const auto known = std::find_if(grammars_.begin(), grammars_.end(), [&](const auto& g) { return g.first == key; });
  if (known != grammars_.end()) {
    grammars_.splice(grammars_.begin(), grammars_, known);
    out = known->second;
    return std::nullopt;
  }
  Result<Grammar> grammar = must_call    ? call_grammar(request.tools, request.tool_choice)
                            : any_object ? json_object_grammar()
                                         : json_schema_grammar(schema);
  if (!grammar.ok()) {
    const char* const param = must_call ? "tools" : request.kind == AnswerKind::kResponse ? "text" : "response_format";
    return ApiError{.message = fmt::format("Invalid '{}': {}", param, grammar.error().message),
                    .param = param,
                    .code = "invalid_json_schema"};
  }
  if (tokens_ == nullptr) tokens_ = std::make_shared<const TokenTrie>(*loop_->model().tokenizer);
  out = std::make_shared<GrammarMasks>(std::move(*grammar), tokens_);
  grammars_.emplace_front(std::move(key), out);
  if (grammars_.size() > kMostGrammars) grammars_.pop_back();
  return std::nullopt;
}

// The tokens of every prompt, with the spans of a conversation's.
std::optional<ApiError> App::tokens_of(CompletionRequest& request, std::vector<ChatPrompt>& out) const {
  const LoadedModel& model = loop_->model();
  if (request.chat()) {
    if (request.has_tools()) {
      const std::string tools = describe_tools(request.tools);
      if (request.messages.front().role == "system") {
        request.messages.front().content += "\n\n" + tools;
      } else {
        request.messages.insert(request.messages.begin(), {.role = "system", .content = tools});
      }
    }
    Result<ChatPrompt> prompt = chat_prompt_of(model, request.messages, /*add_generation_prompt=*/true);
    if (!prompt.ok()) return api_error(prompt.error());
    out.push_back(std::move(*prompt));
    return std::nullopt;
  }
  for (const TextOrTokens& prompt : request.prompts) {
    if (const auto* tokens = std::get_if<std::vector<TokenId>>(&prompt)) {
      out.push_back({.text = {}, .tokens = *tokens, .spans = {}});
      continue;
    }
    Result<std::vector<TokenId>> tokens = model.tokenizer->encode(std::get<std::string>(prompt));
    if (!tokens.ok()) return api_error(tokens.error());
    out.push_back({.text = {}, .tokens = std::move(*tokens), .spans = {}});
  }
  return std::nullopt;
}

// One batch request for every prompt.
std::optional<ApiError> App::make_requests(CompletionRequest& request, const Asked& asked,
                                           const std::shared_ptr<GrammarMasks>& grammar,
                                           std::vector<BatchRequest>& out) {
  const uint32_t context = loop_->model().info.context;
  if (!request.seeded) request.sampling.seed = random_();
  std::vector<ChatPrompt> prompts;
  if (const auto error = tokens_of(request, prompts)) return error;
  for (ChatPrompt& prompt : prompts) {
    const uint64_t tokens = prompt.tokens.size();
    const char* const param = !request.chat() ? "prompt" : request.kind == AnswerKind::kResponse ? "input" : "messages";
    if (tokens == 0) return ApiError{.message = "The prompt is empty", .param = param, .code = "invalid_value"};
    if (tokens >= context || (request.max_tokens && tokens + *request.max_tokens > context)) {
      return ApiError{.message = fmt::format("The prompt has {} tokens and {} are asked for, but the context holds {}",
                                             tokens, request.max_tokens.value_or(1), context),
                      .param = param,
                      .code = "context_length_exceeded"};
    }
    const uint32_t left = context - static_cast<uint32_t>(tokens);
    Request one;
    one.max_new_tokens = request.max_tokens.value_or(request.chat() ? left : std::min(16u, left));
    one.sampling = request.sampling;
    one.stop = request.stop;
    one.ignore_eos = request.ignore_eos;
    one.salt = asked.salt(request.cache_salt);
    one.task = request.task;
    one.top_logprobs = request.top_logprobs;
    BatchRequest batch;
    batch.tenant = asked.tenant();
    for (uint32_t c = 0; c < request.choices; ++c) {
      Request& choice = batch.choices.emplace_back(one);
      choice.sampling.seed += c;
      if (grammar != nullptr) choice.constraint = std::make_shared<GrammarConstraint>(grammar);
    }
    batch.choices.front().prompt = std::move(prompt.tokens);
    batch.choices.front().spans = std::move(prompt.spans);
    out.push_back(std::move(batch));
  }
  return std::nullopt;
}

void App::submit_answer(const SharedAsked& asked, CompletionRequest request, std::vector<BatchRequest> batch) {
  const bool response = request.kind == AnswerKind::kResponse;
  AnswerHead head{.id = new_id(response         ? "resp_"
                               : request.chat() ? "chatcmpl-"
                                                : "cmpl-"),
                  .created = static_cast<int64_t>(std::time(nullptr)),
                  .model = options_.model_name,
                  .fingerprint = "loci-" + loop_->model().core->fingerprint().substr(0, 16),
                  .headers = {{"X-Request-Id", asked->id}},
                  .begun = asked->begun};
  add_cors(asked->request, head.headers);
  const std::string attention = request.attention;
  const std::string plan = attention.empty() ? loop_->model().info.attention : attention;
  const auto on_end = [this, asked, plan, id = head.id](const AnswerSummary& done) {
    log_answer(*asked, id, plan, done);
  };
  const bool logprobs = request.logprobs;
  const std::optional<MemoryWatch> memory = request.memory;
  const uint32_t choices = request.choices;
  const bool conversation = batch.size() == 1;
  const Tokenizer& tokenizer = *loop_->model().tokenizer;
  std::shared_ptr<TextAnswer> answer;
  std::function<void(uint32_t choice, const MemoryPicture& picture)> on_memory;
  if (response) {
    answer = std::make_shared<ResponseAnswer>(asked->exchange, std::move(request), std::move(head), tokenizer, on_end);
  } else {
    const auto completion =
        std::make_shared<CompletionAnswer>(asked->exchange, std::move(request), std::move(head), tokenizer, on_end);
    on_memory = [completion](uint32_t choice, const MemoryPicture& picture) { completion->on_memory(choice, picture); };
    answer = completion;
  }
  const std::shared_ptr<Tickets> tickets = watch(*asked);
  answer->on_failure([this, tickets] { cancel(*tickets); });
  std::vector<EngineLoop::Submission> submissions;
  for (uint32_t p = 0; p < batch.size(); ++p) {
    const uint32_t first = p * choices;
    for (uint32_t c = 0; c < choices; ++c) {
      batch[p].choices[c].on_text = [answer, choice = first + c](std::string_view text) {
        answer->on_text(choice, text);
      };
      if (logprobs) {
        batch[p].choices[c].on_token = [answer, choice = first + c](const TokenLogprob& token) {
          answer->on_token(choice, token);
        };
      }
    }
    if (memory) {
      batch[p].memory = *memory;
      batch[p].memory.on_picture = [on_memory, first](uint32_t choice, const MemoryPicture& picture) {
        on_memory(first + choice, picture);
      };
    }
    batch[p].on_admitted = [answer] { answer->admitted(); };
    batch[p].on_done = [answer, first](uint32_t choice, Result<Completion> done) {
      answer->on_done(first + choice, std::move(done));
    };
    submissions.push_back({.request = std::move(batch[p]),
                           .attention = attention,
                           .conversation = conversation,
                           .on_cancel = [answer](CancelCause cause) { answer->cancelled(cause); }});
  }
  submit(asked, std::move(submissions), tickets);
}

}  // namespace loci

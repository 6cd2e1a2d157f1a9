// /v1/embeddings: the mean of a text's states after the last layer and its norm.
#include "base/error.h"
#include "serve/app.h"

namespace loci {

using nlohmann::ordered_json;

namespace {

// What is collected until the last input has been read. In the engine's thread.
struct Embeddings {
  struct One {
    std::vector<double> sum;
    uint32_t rows = 0;

    void add(uint32_t first_row, const Rows& states) {
      if (first_row == 0) {  // also of a prompt that is read anew
        sum.assign(states.width, 0.0);
        rows = 0;
      }
      for (uint32_t r = 0; r < states.rows; ++r) {
        for (uint32_t i = 0; i < states.width; ++i) sum[i] += static_cast<double>(states.row(r)[i]);
      }
      rows += states.rows;
    }
    std::vector<float> mean() const {
      std::vector<float> out;
      for (const double x : sum) out.push_back(static_cast<float>(x / std::max(rows, 1u)));
      return out;
    }
  };
  std::vector<One> all;
  size_t open = 0;  // inputs without an end
  AnswerSummary summary;
  CancelCause cause = CancelCause::kShutdown;
  std::optional<ApiError> error;
};

ApiError error_of(const Result<Completion>& done, CancelCause cause) {
  if (done.ok() || done.error().code == ErrorCode::kCancelled) return cancelled_error(cause);
  return api_error(done.error());
}

}  // namespace

std::optional<ApiError> App::read_embeddings(const SharedAsked& asked, const ordered_json& body) {
  const LoadedModel& model = loop_->model();
  auto read = read_embedding_request(body, request_limits(), model.info.hidden);
  if (const ApiError* error = std::get_if<ApiError>(&read)) return *error;
  const EmbeddingRequest& request = std::get<EmbeddingRequest>(read);
  if (const auto error = check_model(request.model)) return error;

  CompletionRequest texts;
  texts.kind = AnswerKind::kText;
  texts.prompts = request.inputs;
  std::vector<ChatPrompt> prompts;
  if (const auto error = tokens_of(texts, prompts)) return error;
  const auto all = std::make_shared<Embeddings>();
  all->all.resize(prompts.size());
  all->open = prompts.size();
  all->summary.begun = asked->begun;
  const std::string id = new_id("embd-");
  const std::string plan = request.attention.empty() ? model.info.attention : request.attention;
  const std::shared_ptr<Tickets> tickets = watch(*asked);
  const auto end = [this, asked, all, id, plan, tickets, base64 = request.base64] {
    std::vector<std::vector<float>> vectors;
    for (const Embeddings::One& one : all->all) vectors.push_back(one.mean());
    HttpReply out =
        all->error
            ? error_reply(*all->error)
            : json_reply(200, dump(embeddings_json(options_.model_name, vectors, base64, all->summary.prompt_tokens)));
    out.headers.emplace_back("X-Request-Id", asked->id);
    add_cors(asked->request, out.headers);
    all->summary.status = out.status;
    all->summary.finish = all->error ? all->error->code : "stop";
    all->summary.first_text = all->summary.ended = AnswerSummary::Clock::now();
    log_answer(*asked, id, plan, all->summary);  // first: who asks again finds it counted
    asked->exchange->reply(std::move(out));
  };
  std::vector<EngineLoop::Submission> submissions;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const uint64_t tokens = prompts[i].tokens.size();
    if (tokens == 0 || tokens > model.info.context) {
      return ApiError{
          .message = fmt::format("Input {} has {} tokens; 1 to {} are allowed", i, tokens, model.info.context),
          .param = "input",
          .code = tokens == 0 ? "invalid_value" : "context_length_exceeded"};
    }
    Request one;
    one.max_new_tokens = 0;
    one.prompt = std::move(prompts[i].tokens);
    BatchRequest batch;
    batch.tenant = asked->tenant();
    batch.choices.push_back(std::move(one));
    batch.on_states = [all, i](uint32_t first_row, const Rows& states) { all->all[i].add(first_row, states); };
    batch.on_admitted = [all] {
      if (all->summary.admitted == AnswerSummary::Clock::time_point())
        all->summary.admitted = AnswerSummary::Clock::now();
    };
    batch.on_done = [this, all, end, tickets](uint32_t, Result<Completion> done) {
      --all->open;
      if (done.ok()) all->summary.prompt_tokens += done->prompt_tokens;
      if (!all->error && (!done.ok() || done->finish == Finish::kCancelled)) {
        all->error = error_of(done, all->cause);
        cancel(*tickets);
      }
      if (all->open == 0) end();
    };
    submissions.push_back({.request = std::move(batch),
                           .attention = request.attention,
                           .on_cancel = [all](CancelCause cause) { all->cause = cause; }});
  }
  submit(asked, std::move(submissions), tickets);
  return std::nullopt;
}

}  // namespace loci

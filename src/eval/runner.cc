#include "eval/runner.h"

#include <algorithm>

#include "eval/excerpt.h"

namespace loci {
namespace {

constexpr const char* kDense = "dense";

struct Prompt {
  PromptKey key;  // without a plan
  const Task* task = nullptr;
  SizedSample sized;
  std::string excerpt;
};

class Evaluation {
 public:
  Evaluation(const EvalRun& run, const SuiteData& data, const EvalHooks& hooks, ResultFile& file,
             ReferenceStore& references)
      : run_(run), data_(data), hooks_(hooks), file_(file), references_(references), plans_(run.plans) {
    std::stable_partition(plans_.begin(), plans_.end(), [](const std::string& plan) { return plan == kDense; });
    compares_ = plans_.size() > 1 && plans_.front() == kDense;
  }

  Status all() {
    open_plans_ = static_cast<uint64_t>(
        std::count_if(plans_.begin(), plans_.end(), [&](const std::string& plan) { return !complete(plan); }));
    for (const std::string& plan : plans_) {
      if (complete(plan)) continue;
      LOCI_TRY(Engine engine, hooks_.load(plan));
      if (prompts_.empty()) LOCI_CHECK(make_prompts(engine));
      for (const Prompt& prompt : prompts_) {
        if (needed(plan, prompt.key)) LOCI_CHECK(answer(engine, plan, prompt));
        done_ += prompt.sized.tokens.size();
        progress(0);
      }
    }
    return {};
  }

 private:
  template <typename Visit>
  void each_key(Visit visit) const {
    for (const Task* task : run_.tasks) {
      for (const uint32_t length : run_.lengths) {
        for (uint32_t index = 0; index < run_.samples.prompts; ++index) {
          visit(*task, PromptKey{{}, std::string(task->name), length, index});
        }
      }
    }
  }

  PromptKey with(const std::string& plan, PromptKey key) const {
    key.plan = plan;
    return key;
  }

  // Dense is asked again if another plan lacks a result, and the logits to compare it with are gone.
  bool needed(const std::string& plan, const PromptKey& key) const {
    if (file_.find(with(plan, key)) == nullptr) return true;
    if (!compares_ || plan != kDense || references_.holds(key)) return false;
    return std::any_of(plans_.begin() + 1, plans_.end(),
                       [&](const std::string& other) { return file_.find(with(other, key)) == nullptr; });
  }

  bool complete(const std::string& plan) const {
    bool all = true;
    each_key([&](const Task&, const PromptKey& key) { all = all && !needed(plan, key); });
    return all;
  }

  Status make_prompts(const Engine& engine) {
    const bool chat = engine.info().has_chat_template && !run_.raw;
    const auto count = [&](std::string_view text) -> Result<uint32_t> {
      LOCI_TRY(const std::vector<TokenId> tokens,
               engine.tokenize(text, {.add_special = false, .parse_special = false}));
      return static_cast<uint32_t>(tokens.size());
    };
    const auto prompt = [&](const Sample& sample) -> Result<std::vector<TokenId>> {
      if (!chat)
        return engine.tokenize(sample.prompt + sample.beginning, {.add_special = true, .parse_special = false});
      const ChatMessage message{"user", sample.prompt};
      LOCI_TRY(ChatPrompt made, engine.chat_prompt(std::span(&message, 1)));
      LOCI_TRY(const std::vector<TokenId> beginning,
               engine.tokenize(sample.beginning, {.add_special = false, .parse_special = false}));
      made.tokens.insert(made.tokens.end(), beginning.begin(), beginning.end());
      return made.tokens;
    };
    stop_ = chat ? std::vector<std::string>{} : std::vector<std::string>{"\n"};
    SampleMaker maker(data_, run_.samples, prompt, count);
    Status status;
    each_key([&](const Task& task, const PromptKey& key) {
      if (!status.ok()) return;
      if (hooks_.cancelled != nullptr && hooks_.cancelled->load()) {
        status = fail(ErrorCode::kCancelled, "the evaluation was cancelled");
        return;
      }
      Result<SizedSample> sized = maker.make(task, key.length, key.index);
      if (sized.ok()) {
        total_ += sized->tokens.size() * open_plans_;
        std::string kept = excerpt(sized->sample.prompt + sized->sample.beginning, sized->sample.needles);
        sized->sample.prompt.clear();  // its tokens are what counts from here on
        prompts_.push_back({key, &task, std::move(*sized), std::move(kept)});
      } else {
        status = std::move(sized).error();
      }
    });
    return status;
  }

  Status answer(Engine& engine, const std::string& plan, const Prompt& prompt) {
    Request request;
    request.prompt = prompt.sized.tokens;
    request.max_new_tokens = prompt.sized.answer_tokens;
    request.stop = stop_;
    request.cancelled = hooks_.cancelled;
    request.on_progress = [&](const Progress& p) { progress(p.prompt_done); };
    const bool reference = compares_ && plan == kDense;
    Result<Completion> done = Error{};
    PromptResult result;
    if (reference) {
      done = answer_as_reference(engine, request, prompt);
    } else if (compares_) {
      done = answer_beside_reference(engine, request, prompt, result);
    } else {
      done = engine.generate(request, Probe{});
    }
    if (!done.ok()) return done.error();
    if (done->finish == Finish::kCancelled) return fail(ErrorCode::kCancelled, "the evaluation was cancelled");
    result.key = with(plan, prompt.key);
    result.attention = engine.info().attention;
    fill(result, *done, prompt);
    return file_.add(std::move(result));
  }

  Result<Completion> answer_as_reference(Engine& engine, const Request& request, const Prompt& prompt) {
    Reference made;
    Probe probe;
    probe.on_logits = [&](uint32_t, std::span<const float> logits) { made.rows.push_back(reference_row(logits)); };
    LOCI_TRY(Completion done, engine.generate(request, probe));
    made.answer = done.tokens;
    made.rows.resize(std::min(made.rows.size(), made.answer.size()));  // the row behind the last token foresees its end
    LOCI_CHECK(references_.write(prompt.key, std::move(made)));
    return done;
  }

  Result<Completion> answer_beside_reference(Engine& engine, const Request& request, const Prompt& prompt,
                                             PromptResult& result) {
    LOCI_TRY(const Reference reference, references_.read(prompt.key));
    Probe probe;
    probe.expected = reference.answer;
    double sum = 0;
    double agreed = 0;
    probe.on_logits = [&](uint32_t row, std::span<const float> logits) {
      sum += divergence(reference.rows[row], logits);
      agreed += argmax(logits) == reference.rows[row].ids.front() ? 1 : 0;
    };
    if (reference.answer.empty()) return engine.generate(request, Probe{});
    LOCI_TRY(Completion done, engine.generate(request, probe));
    result.kl = sum / static_cast<double>(reference.answer.size());
    result.agreement = agreed / static_cast<double>(reference.answer.size());
    return done;
  }

  void fill(PromptResult& result, const Completion& done, const Prompt& prompt) const {
    const Sample& sample = prompt.sized.sample;
    result.prompt_tokens = done.prompt_tokens;
    result.depth = sample.depth;
    result.needles = sample.needles;
    result.answers = sample.answers;
    result.excerpt = prompt.excerpt;
    result.text = done.text;
    result.finish = to_string(done.finish);
    result.score = score_answer(prompt.task->scorer, done.text, sample.answers);
    result.kv_bytes = done.kv_bytes;
    result.kept_tokens = done.kept_tokens;
    result.prefill_seconds = done.prefill_seconds;
    result.decode_seconds = done.decode_seconds;
    result.decode_steps = done.decode_steps;
  }

  void progress(uint64_t of_prompt) const {
    if (hooks_.on_progress) hooks_.on_progress(done_ + of_prompt, total_);
  }

  const EvalRun& run_;
  const SuiteData& data_;
  const EvalHooks& hooks_;
  ResultFile& file_;
  ReferenceStore& references_;
  std::vector<std::string> plans_;  // dense first
  bool compares_ = false;
  std::vector<Prompt> prompts_;
  std::vector<std::string> stop_;
  uint64_t open_plans_ = 0;  // that lack results
  uint64_t done_ = 0;        // tokens, those of results that were there included
  uint64_t total_ = 0;
};

}  // namespace

Status run_evaluation(const EvalRun& run, const SuiteData& data, const EvalHooks& hooks, ResultFile& file,
                      ReferenceStore& references) {
  return Evaluation(run, data, hooks, file, references).all();
}

}  // namespace loci

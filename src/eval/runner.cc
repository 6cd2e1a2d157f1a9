#include "eval/runner.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "eval/asking.h"
#include "eval/excerpt.h"
#include "eval/prompt_writer.h"

namespace loci {
namespace {

constexpr const char* kDense = "dense";

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
        if (needed(plan, *prompt.task, prompt.key)) LOCI_CHECK(answer(engine, plan, prompt));
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
  bool needed(const std::string& plan, const Task& task, const PromptKey& key) const {
    if (file_.find(with(plan, key)) == nullptr) return true;
    if (!compares_ || plan != kDense || !has_reference(task) || references_.holds(key)) return false;
    return std::any_of(plans_.begin() + 1, plans_.end(),
                       [&](const std::string& other) { return file_.find(with(other, key)) == nullptr; });
  }

  bool complete(const std::string& plan) const {
    bool all = true;
    each_key([&](const Task& task, const PromptKey& key) { all = all && !needed(plan, task, key); });
    return all;
  }

  Status make_prompts(const Engine& engine) {
    chat_ = engine.info().has_chat_template && !run_.raw;
    const PromptWriter writer(engine, chat_);
    std::vector<TokenId> vocabulary;
    const auto on_tokens = [](const Task* task) { return task->asking == Asking::kRecall; };
    if (std::any_of(run_.tasks.begin(), run_.tasks.end(), on_tokens)) {
      LOCI_TRY(vocabulary, writer.vocabulary());
    }
    SampleMaker maker(
        data_, run_.samples, [&](const Sample& sample) { return writer.prompt(sample); },
        [&](std::string_view text) { return writer.count(text); }, std::move(vocabulary));
    Status status;
    std::optional<Error> too_short;
    std::pair<const Task*, uint32_t> left_out{};
    each_key([&](const Task& task, const PromptKey& key) {
      if (!status.ok() || left_out == std::pair(&task, key.length)) return;
      status = hooks_.cancelled != nullptr && hooks_.cancelled->load()
                   ? Status(fail(ErrorCode::kCancelled, "the evaluation was cancelled"))
                   : make_prompt(engine, writer, maker, task, key);
      if (status.ok() || status.error().code != ErrorCode::kLimit || is_named(task)) return;
      left_out = {&task, key.length};
      too_short = status.error();
      leave_out(task, key.length, status.error());
      status = {};
    });
    if (status.ok() && prompts_.empty() && too_short) return *too_short;
    return status;
  }

  bool is_named(const Task& task) const {
    return std::find(run_.named.begin(), run_.named.end(), &task) != run_.named.end();
  }

  // Whole or not at all: with fewer prompts it would be another sample.
  void leave_out(const Task& task, uint32_t length, const Error& why) {
    std::erase_if(prompts_, [&](const Prompt& prompt) {
      if (prompt.task != &task || prompt.key.length != length) return false;
      total_ -= prompt.sized.tokens.size() * open_plans_;
      return true;
    });
    if (hooks_.on_left_out) hooks_.on_left_out(why.message);
  }

  Status make_prompt(const Engine& engine, const PromptWriter& writer, SampleMaker& maker, const Task& task,
                     const PromptKey& key) {
    Prompt prompt{key, &task, {}, {}, {}, {}};
    LOCI_TRY(prompt.sized, maker.make(task, key.length, key.index));
    Sample& sample = prompt.sized.sample;
    if (!sample.turns.empty()) {
      LOCI_TRY(prompt.turns, writer.turns(sample, task.asking));
      LOCI_TRY(prompt.context, writer.context(sample));
    }
    std::string text = whole_text(sample);
    if (task.asking == Asking::kRecall) {
      LOCI_TRY(text, engine.detokenize(prompt.sized.tokens));
    }
    prompt.excerpt = excerpt(text, sample.needles);
    sample.prompt.clear();  // its tokens are what counts from here on
    total_ += prompt.sized.tokens.size() * open_plans_;
    prompts_.push_back(std::move(prompt));
    return {};
  }

  Status answer(Engine& engine, const std::string& plan, const Prompt& prompt) {
    AskContext context{engine, references_, Referring::kNone, chat_, hooks_.cancelled, {}};
    if (compares_ && has_reference(*prompt.task)) {
      context.referring = plan == kDense ? Referring::kWrites : Referring::kReads;
    }
    context.on_progress = [&](uint64_t tokens) { progress(tokens); };
    LOCI_TRY(PromptResult result, ask(context, prompt));
    result.key = with(plan, prompt.key);
    return file_.add(std::move(result));
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
  bool chat_ = false;
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

#include "eval/asking.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

namespace loci {
namespace {

// Of the queries of a recall only so many rows are kept and compared: a row is 32 KiB.
constexpr size_t kComparedQueries = 16;

// LogitRows of logits on their way into a reference, or beside one.
class LogitRows {
 public:
  static Result<LogitRows> open(const AskContext& context, const PromptKey& key) {
    LogitRows rows(context.referring);
    if (rows.referring_ == Referring::kReads) {
      LOCI_TRY(rows.reference_, context.references.read(key));
      if (rows.reference_.answer.empty()) rows.referring_ = Referring::kNone;
    }
    return rows;
  }

  bool reads() const { return referring_ == Referring::kReads; }
  const std::vector<TokenId>& answer() const { return reference_.answer; }

  void see(size_t row, std::span<const float> logits) {
    if (referring_ == Referring::kWrites) {
      reference_.rows.push_back(reference_row(logits));
    } else if (referring_ == Referring::kReads && row < reference_.rows.size()) {
      sum_ += divergence(reference_.rows[row], logits);
      agreed_ += argmax(logits) == reference_.rows[row].ids.front() ? 1 : 0;
    }
  }

  // `answer` is what a reference holds; rows behind its end are dropped.
  Status close(const AskContext& context, const PromptKey& key, std::vector<TokenId> answer, PromptResult& result) {
    if (referring_ == Referring::kReads) {
      const auto count = static_cast<double>(reference_.answer.size());
      result.kl = sum_ / count;
      result.agreement = agreed_ / count;
    }
    if (referring_ != Referring::kWrites) return {};
    reference_.answer = std::move(answer);
    reference_.rows.resize(std::min(reference_.rows.size(), reference_.answer.size()));
    return context.references.write(key, std::move(reference_));
  }

  // The likeliest tokens of the rows seen.
  std::vector<TokenId> likeliest() const {
    std::vector<TokenId> out;
    for (const ReferenceRow& row : reference_.rows) out.push_back(row.ids.front());
    return out;
  }

 private:
  explicit LogitRows(Referring referring) : referring_(referring) {}

  Referring referring_;
  Reference reference_;
  double sum_ = 0;
  double agreed_ = 0;
};

void add_completion(PromptResult& result, const Completion& done) {
  result.prompt_tokens += done.prompt_tokens;
  result.kv_bytes = done.kv_bytes;
  result.kept_tokens = done.kept_tokens;
  result.prefill_seconds += done.prefill_seconds;
  result.decode_seconds += done.decode_seconds;
  result.decode_steps += done.decode_steps;
  result.finish = to_string(done.finish);
}

Error cancelled() { return fail(ErrorCode::kCancelled, "the evaluation was cancelled"); }

class Conversation {
 public:
  Conversation(const AskContext& context, const Prompt& prompt)
      : context_(context), prompt_(prompt), task_(*prompt.task), sample_(prompt.sized.sample) {}

  Result<PromptResult> run() {
    result_.key = prompt_.key;
    result_.attention = context_.engine.info().attention;
    result_.depth = sample_.depth;
    result_.needles = sample_.needles;
    result_.answers = sample_.answers;
    result_.excerpt = prompt_.excerpt;
    LOCI_CHECK(by_kind());
    return std::move(result_);
  }

 private:
  Status by_kind() {
    switch (task_.asking) {
      case loci::Asking::kAnswer:
        return answer();
      case loci::Asking::kChoice:
        return choose();
      case loci::Asking::kRecall:
        return recall();
      case loci::Asking::kTurns:
        return converse();
      case loci::Asking::kRequests:
        return request_each();
    }
    return {};
  }

  Request request(std::span<const TokenId> tokens, uint32_t room) const {
    Request out;
    out.prompt.assign(tokens.begin(), tokens.end());
    out.max_new_tokens = room;
    if (!context_.chat && task_.one_line) out.stop = {"\n"};
    out.cancelled = context_.cancelled;
    out.on_progress = [this](const Progress& p) {
      if (context_.on_progress) context_.on_progress(done_ + p.prompt_done);
    };
    return out;
  }

  Result<Completion> generate(const Request& request, const Probe& probe) const {
    LOCI_TRY(Completion done, context_.engine.generate(request, probe));
    if (done.finish == Finish::kCancelled) return cancelled();
    return done;
  }

  Status answer() {
    LOCI_TRY(LogitRows rows, LogitRows::open(context_, prompt_.key));
    Probe probe;
    if (rows.reads()) probe.expected = rows.answer();
    probe.on_logits = [&](uint32_t row, std::span<const float> logits) { rows.see(row, logits); };
    LOCI_TRY(const Completion done, generate(request(prompt_.sized.tokens, prompt_.sized.answer_tokens), probe));
    add_completion(result_, done);
    result_.text = done.text;
    result_.score = score_answer(task_.scorer, done.text, sample_.answers);
    return rows.close(context_, prompt_.key, done.tokens, result_);
  }

  // By choice the first tokens of its spellings, with the blank before it and without. A spelling that begins alike in
  // two choices does not count.
  Result<std::vector<std::vector<TokenId>>> first_tokens() const {
    std::vector<std::vector<TokenId>> out(sample_.choices.size());
    for (const bool blank : {true, false}) {
      std::vector<TokenId> firsts;
      for (std::string choice : sample_.choices) {
        choice.erase(0, choice.find_first_not_of(' '));
        LOCI_TRY(const std::vector<TokenId> tokens,
                 context_.engine.tokenize((blank ? " " : "") + choice, {.add_special = false, .parse_special = false}));
        firsts.push_back(tokens.empty() ? -1 : tokens.front());
      }
      if (std::set<TokenId>(firsts.begin(), firsts.end()).size() < firsts.size() || firsts.front() < 0) continue;
      for (size_t i = 0; i < firsts.size(); ++i) {
        if (out[i].empty() || out[i].front() != firsts[i]) out[i].push_back(firsts[i]);
      }
    }
    if (!out.front().empty()) return out;
    return fail(ErrorCode::kUnsupported,
                "task '{}' compares first tokens of '{}', but this tokenizer begins them alike", task_.name,
                fmt::join(sample_.choices, "', '"));
  }

  static size_t best(const std::vector<double>& weights, std::optional<size_t> without) {
    size_t out = without == size_t{0} ? 1 : 0;
    for (size_t i = out; i < weights.size(); ++i) {
      if (i != without && weights[i] > weights[out]) out = i;
    }
    return out;
  }

  Status choose() {
    LOCI_TRY(const std::vector<std::vector<TokenId>> firsts, first_tokens());
    LOCI_TRY(LogitRows rows, LogitRows::open(context_, prompt_.key));
    std::vector<double> weights(firsts.size());  // log of the sum over spellings, but for a constant
    TokenId likeliest = 0;
    Probe probe;
    probe.expected = {firsts.front().front()};
    probe.on_logits = [&](uint32_t row, std::span<const float> logits) {
      rows.see(row, logits);
      likeliest = argmax(logits);
      for (size_t i = 0; i < firsts.size(); ++i) {
        double sum = 0;
        for (const TokenId id : firsts[i]) {
          sum +=
              std::exp(static_cast<double>(logits[static_cast<size_t>(id)]) - logits[static_cast<size_t>(likeliest)]);
        }
        weights[i] = std::log(sum);
      }
    };
    LOCI_TRY(const Completion done, generate(request(prompt_.sized.tokens, 0), probe));
    add_completion(result_, done);
    result_.text = sample_.choices[best(weights, std::nullopt)];
    result_.score = score_answer(task_.scorer, sample_.choices[best(weights, sample_.abstention)], sample_.answers);
    return rows.close(context_, prompt_.key, {likeliest}, result_);
  }

  Status recall() {
    const Recall& recall = sample_.recall;
    LOCI_TRY(LogitRows rows, LogitRows::open(context_, prompt_.key));
    const std::vector<TokenId>& tokens = prompt_.sized.tokens;
    const size_t context = tokens.size() - recall.tokens.size() + recall.context;
    size_t query = 0, right = 0;
    Probe probe;
    probe.expected.assign(tokens.begin() + static_cast<ptrdiff_t>(context), tokens.end());
    probe.on_logits = [&](uint32_t row, std::span<const float> logits) {
      if (query == recall.queries.size() || recall.context + row != recall.queries[query].at + 1) return;
      if (query < kComparedQueries) rows.see(query, logits);
      right += argmax(logits) == recall.queries[query].value ? 1 : 0;
      ++query;
    };
    const auto began = std::chrono::steady_clock::now();
    LOCI_TRY(const Completion done, generate(request(std::span(tokens).first(context), 0), probe));
    add_completion(result_, done);
    result_.decode_seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() - done.prefill_seconds;
    result_.decode_steps = static_cast<uint32_t>(probe.expected.size());
    result_.text = fmt::format("{} of {} values", right, recall.queries.size());
    result_.score = static_cast<double>(right) / static_cast<double>(recall.queries.size());
    return rows.close(context_, prompt_.key, rows.likeliest(), result_);
  }

  // The k-th question, of which the session's first `shared` tokens hold a part.
  Status turn(Session& session, size_t k, size_t shared) {
    const Turn& turn = sample_.turns[k];
    TurnResult told;
    told.reused = session.kv_bytes() > 0 ? static_cast<uint32_t>(shared) : 0;
    const std::span<const TokenId> fresh = std::span(prompt_.turns[k]).subspan(shared);
    told.read = static_cast<uint32_t>(prompt_.turns[k].size()) - told.reused;
    LOCI_TRY(const Completion done, session.generate(request(fresh, prompt_.sized.answer_tokens)));
    if (done.finish == Finish::kCancelled) return cancelled();
    add_completion(result_, done);
    result_.prompt_tokens += told.read - done.prompt_tokens;  // a cache that could not be cut is read anew
    told.text = done.text;
    told.score = score_answer(task_.scorer, done.text, turn.answers);
    result_.text += fmt::format("{}{}: {}", k == 0 ? "" : "\n", k + 1, told.text);
    result_.score += told.score / static_cast<double>(sample_.turns.size());
    result_.turns.push_back(std::move(told));
    done_ += fresh.size();
    return {};
  }

  static size_t common(std::span<const TokenId> a, std::span<const TokenId> b) {
    const size_t most = std::min(a.size(), b.size());
    return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(most), b.begin()).first -
                               a.begin());
  }

  // What the model said itself is forgotten before the right answer is read.
  Status converse() {
    LOCI_TRY(Session session, context_.engine.open_session());
    for (size_t k = 0; k < sample_.turns.size(); ++k) {
      const size_t shared = std::min(common(session.tokens(), prompt_.turns[k]), prompt_.turns[k].size() - 1);
      LOCI_CHECK(session.trim(static_cast<uint32_t>(shared)));
      LOCI_CHECK(turn(session, k, shared));
    }
    return {};
  }

  // The context is a prompt of its own, in which nothing of a question has been seen.
  Status request_each() {
    size_t shared = prompt_.context.size();
    for (const std::vector<TokenId>& turn : prompt_.turns) shared = std::min(shared, common(prompt_.context, turn));
    LOCI_TRY(Session session, context_.engine.open_session());
    LOCI_TRY(const Completion read, session.generate(request(std::span(prompt_.context).first(shared), 0)));
    if (read.finish == Finish::kCancelled) return cancelled();
    add_completion(result_, read);
    done_ += shared;
    for (size_t k = 0; k < sample_.turns.size(); ++k) {
      LOCI_TRY(Session fork, session.fork());
      LOCI_CHECK(turn(fork, k, shared));
    }
    return {};
  }

  const AskContext& context_;
  const Prompt& prompt_;
  const Task& task_;
  const Sample& sample_;
  PromptResult result_;
  uint64_t done_ = 0;  // prompt tokens of earlier turns
};

}  // namespace

bool has_reference(const Task& task) { return task.asking != Asking::kTurns && task.asking != Asking::kRequests; }

Result<PromptResult> ask(const AskContext& context, const Prompt& prompt) {
  return Conversation(context, prompt).run();
}

}  // namespace loci

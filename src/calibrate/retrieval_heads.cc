#include "calibrate/retrieval_heads.h"

#include <algorithm>

#include "attention/stages/observe.h"

namespace loci {

CopyCounter::CopyCounter(const Needle& needle, size_t heads)
    : needle_(needle), copied_(heads, std::vector<bool>(needle.count)), mass_(heads) {}

bool CopyCounter::holds(TokenId token) const {
  const auto first = needle_.prompt.begin() + needle_.first;
  return std::find(first, first + needle_.count, token) != first + needle_.count;
}

void CopyCounter::add(size_t head, uint32_t top, double mass, TokenId next) {
  if (holds(next)) mass_[head] += mass;
  if (top < needle_.first || top >= needle_.first + needle_.count || needle_.prompt[top] != next) return;
  copied_[head][top - needle_.first] = true;
}

void CopyCounter::end_row(TokenId next) { rows_ += holds(next) ? 1 : 0; }

double CopyCounter::score(size_t head) const {
  const auto copies = std::count(copied_[head].begin(), copied_[head].end(), true);
  return static_cast<double>(copies) / needle_.count;
}

double CopyCounter::mass(size_t head) const { return rows_ > 0 ? mass_[head] / rows_ : 0; }

namespace {

// Of the last decode step: every head's top position, and its attention to the needle.
class TopTap final : public Tap {
 public:
  TopTap(Subject& subject, Workspace scratch)
      : subject_(subject), scratch_(std::move(scratch)), tops_(heads()), masses_(heads()) {}

  static uint64_t scratch_bytes(const Subject& subject) {
    const ModelShape& model = subject.shape();
    return Workspace::bytes_of<float>(uint64_t{model.group()} * round_up(subject.context(), kPageSlots)) +
           observe_scratch_bytes(model, 1, subject.workers());
  }

  void watch(const Needle* needle) { needle_ = needle; }
  size_t heads() const { return size_t{subject_.shape().layers} * subject_.shape().query_heads; }
  uint32_t top(size_t head) const { return tops_[head]; }
  double mass(size_t head) const { return masses_[head]; }

  void after_read(const View& seen, Rows, std::span<float>, TapReader&) override {
    if (needle_ == nullptr || seen.phase != Phase::kDecode || !seen.model.open(seen.layer)) return;
    OpContext ops{seen.ops.pool, seen.ops.isa, scratch_};
    const View view = with_scratch(seen, ops);
    for (const Table& table : view.tables()) {
      for (size_t h = 0; h < table.heads().size(); ++h) look(view, table, h);
    }
  }

 private:
  void look(const View& view, const Table& table, size_t head_index) {
    const Workspace::Mark mark(scratch_);
    const uint32_t group = view.model.group();
    Rows row = scratch_.rows(group, observed_width(table));
    observe(view, table, head_index, 0, 1, row);
    for (uint32_t g = 0; g < group; ++g) {
      const size_t head =
          size_t{view.layer.value} * view.model.query_heads + size_t{table.heads()[head_index].value} * group + g;
      const float* p = row.row(g);
      tops_[head] = static_cast<uint32_t>(std::max_element(p, p + table.length()) - p);
      masses_[head] = 0;
      for (uint32_t i = 0; i < needle_->count; ++i) masses_[head] += p[needle_->first + i];
    }
  }

  Subject& subject_;
  Workspace scratch_;
  const Needle* needle_ = nullptr;
  std::vector<uint32_t> tops_;
  std::vector<double> masses_;
};

class RetrievalHeads final : public Calibration {
 public:
  RetrievalHeads(Subject& subject, std::vector<Needle> needles, RetrievalHeadsOptions options)
      : subject_(subject), needles_(std::move(needles)), options_(std::move(options)) {}

  std::string_view kind() const override { return "retrieval-heads"; }
  uint32_t pieces() const override { return static_cast<uint32_t>(needles_.size()); }
  std::map<std::string, double> settings() const override { return options_.settings; }

  // Recall, then score and mass by head.
  Result<std::vector<double>> run(uint32_t index, const Cancelled& cancelled, const OnShare& progress) override {
    const Needle& needle = needles_[index];
    LOCI_TRY(Workspace scratch, Workspace::allocate(TopTap::scratch_bytes(subject_)));
    TopTap tap(subject_, std::move(scratch));
    CopyCounter counter(needle, tap.heads());
    Sequence sequence = subject_.begin(needle.prompt);
    LOCI_CHECK(subject_.feed(sequence, static_cast<uint32_t>(needle.prompt.size()) - 1, cancelled));
    progress(0.5);

    tap.watch(&needle);
    subject_.listen(&tap);
    std::vector<TokenId> answer;
    Status done;
    while (answer.size() < options_.answer_tokens) {
      const Result<TokenId> next = subject_.step(sequence, cancelled);
      if (!next.ok()) done = next.error();
      if (!next.ok() || subject_.ends(*next)) break;
      for (size_t h = 0; h < tap.heads(); ++h) counter.add(h, tap.top(h), tap.mass(h), *next);
      counter.end_row(*next);
      answer.push_back(*next);
    }
    subject_.listen(nullptr);
    LOCI_CHECK(done);

    std::vector<double> out{recall(needle, answer)};
    for (size_t h = 0; h < tap.heads(); ++h) out.push_back(counter.score(h));
    for (size_t h = 0; h < tap.heads(); ++h) out.push_back(counter.mass(h));
    return out;
  }

  Result<Profile> conclude(std::span<const std::vector<double>> pieces) const override {
    Profile out;
    out.layers = subject_.shape().layers;
    out.heads = subject_.shape().query_heads;
    const size_t heads = size_t{out.layers} * out.heads;
    std::vector<double> score(heads), mass(heads);
    double found = 0;
    for (const std::vector<double>& piece : pieces) {
      LOCI_ASSERT(piece.size() == 1 + 2 * heads, "a piece has a score and a mass for each head");
      if (piece[0] <= kEnoughRecall) continue;
      ++found;
      for (size_t h = 0; h < heads; ++h) {
        score[h] += piece[1 + h];
        mass[h] += piece[1 + heads + h];
      }
    }
    if (found == 0) {
      return fail(ErrorCode::kUnsupported,
                  "the model found none of {} needles, so no head copied any: take shorter prompts (--length)",
                  pieces.size());
    }
    for (size_t h = 0; h < heads; ++h) {
      score[h] /= found;
      mass[h] /= found;
    }
    out.settings["found"] = found;
    out.values["retrieval"] = std::move(score);
    out.values["mass"] = std::move(mass);
    return out;
  }

 private:
  Subject& subject_;
  std::vector<Needle> needles_;
  RetrievalHeadsOptions options_;
};

}  // namespace

std::unique_ptr<Calibration> retrieval_heads(Subject& subject, std::vector<Needle> needles,
                                             RetrievalHeadsOptions options) {
  return std::make_unique<RetrievalHeads>(subject, std::move(needles), std::move(options));
}

}  // namespace loci

#include "calibrate/razor.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

// Tokens of plain text: what a prompt of letters may hold.
Result<std::vector<TokenId>> ordinary_tokens(const Tokenizer& tokenizer) {
  std::vector<TokenId> out;
  for (size_t i = 0; i < tokenizer.vocab_size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    LOCI_TRY(const std::string plain, tokenizer.piece(id, false));
    LOCI_TRY(const std::string special, tokenizer.piece(id, true));
    if (!plain.empty() && plain == special && !tokenizer.is_end(id)) out.push_back(id);
  }
  return out;
}

// Sums the attention of rows behind the first copy, by query head.
class CopyTap final : public Tap {
 public:
  CopyTap(const ModelShape& model, uint32_t first, uint32_t period)
      : first_(first), period_(period), echo(heads(model)), induction(heads(model)) {}

  void after_read(const View& view, Rows, std::span<float> lse, TapReader&) override {
    if (!view.model.open(view.layer)) return;
    for (const Table& table : view.tables()) {
      view.ops.pool.parallel_for(table.heads().size(), [&](size_t h, int) { add_head(view, table, h, lse); });
    }
  }

 private:
  static size_t heads(const ModelShape& model) { return size_t{model.layers} * model.query_heads; }

  void add_head(const View& view, const Table& table, size_t head_index, std::span<const float> lse) {
    KeyReader keys(view, table, head_index);
    const uint32_t group = view.model.group();
    for (uint32_t i = 0; i < view.rows(); ++i) {
      const uint32_t position = view.first_position + i;
      for (uint32_t back = period_; position >= first_ + back; back += period_) {
        for (uint32_t g = 0; g < group; ++g) {
          const uint32_t head = table.heads()[head_index].value * group + g;
          const size_t at = size_t{view.layer.value} * view.model.query_heads + head;
          const float* query = view.queries.row(i) + size_t{head} * view.model.head_dim;
          const float row_lse = lse[size_t{i} * view.model.query_heads + head];
          echo[at] += keys.attention(query, position - back, row_lse);
          induction[at] += keys.attention(query, position - back + 1, row_lse);
        }
      }
    }
  }

  // Probabilities of single keys; the pages that rows of one chunk mean are decoded once, as they come.
  class KeyReader {
   public:
    KeyReader(const View& view, const Table& table, size_t head_index)
        : view_(view), table_(table), head_index_(head_index) {}

    double attention(const float* query, uint32_t position, float row_lse) {
      const std::vector<float>& tile = page(position / kPageSlots);
      const float* key = tile.data() + position % kPageSlots;
      double score = 0;
      for (uint32_t d = 0; d < view_.model.head_dim; ++d) score += double{query[d]} * key[size_t{d} * kPageSlots];
      return std::min(1.0, std::exp(score * view_.model.score_scale - row_lse));
    }

   private:
    const std::vector<float>& page(uint32_t index) {
      std::vector<float>& tile = pages_[index];
      if (tile.empty()) {
        tile.resize(size_t{table_.layout().padded_dim} * kPageSlots);
        const std::byte* bytes = table_.page_of(SlotId(index * kPageSlots), head_index_);
        kv_decode_kernels(view_.ops.isa).keys(table_.layout(), bytes, tile.data());
      }
      return tile;
    }

    const View& view_;
    const Table& table_;
    size_t head_index_;
    std::map<uint32_t, std::vector<float>> pages_;
  };

  uint32_t first_;  // position of the first copy
  uint32_t period_;

 public:
  std::vector<double> echo, induction;
};

class Razor final : public Calibration {
 public:
  Razor(Subject& subject, std::vector<TokenId> vocabulary, RazorOptions options)
      : subject_(subject), vocabulary_(std::move(vocabulary)), options_(std::move(options)) {}

  std::string_view kind() const override { return "razor"; }
  uint32_t pieces() const override { return options_.rounds; }
  std::map<std::string, double> settings() const override { return options_.settings; }

  // Echo, then induction, by query head.
  Result<std::vector<double>> run(uint32_t index, const Cancelled& cancelled, const OnShare&) override {
    const TokenId bos = subject_.tokenizer().bos();
    std::vector<TokenId> tokens;
    if (bos >= 0) tokens.push_back(bos);
    const auto first = static_cast<uint32_t>(tokens.size());
    const std::vector<TokenId> copy = draw(index);
    for (uint32_t i = 0; i < kCopies; ++i) tokens.insert(tokens.end(), copy.begin(), copy.end());

    CopyTap tap(subject_.shape(), first, options_.period);
    Sequence sequence = subject_.begin(std::move(tokens));
    subject_.listen(&tap);
    const Status done = subject_.feed(sequence, static_cast<uint32_t>(sequence.tokens.size()), cancelled);
    subject_.listen(nullptr);
    LOCI_CHECK(done);
    std::vector<double> out = std::move(tap.echo);
    out.insert(out.end(), tap.induction.begin(), tap.induction.end());
    for (double& sum : out) sum /= (kCopies - 1) * options_.period;
    return out;
  }

  Result<Profile> conclude(std::span<const std::vector<double>> pieces) const override {
    const ModelShape& model = subject_.shape();
    Profile out;
    out.layers = model.layers;
    out.heads = model.kv_heads;
    const size_t heads = size_t{model.layers} * model.query_heads;
    std::vector<double>& echo = out.values["echo"];
    std::vector<double>& induction = out.values["induction"];
    for (size_t kv = 0; kv < size_t{model.layers} * model.kv_heads; ++kv) {
      double most_echo = 0, most_induction = 0;
      for (uint32_t g = 0; g < model.group(); ++g) {
        double of_echo = 0, of_induction = 0;
        for (const std::vector<double>& piece : pieces) {
          of_echo += piece[kv * model.group() + g];
          of_induction += piece[heads + kv * model.group() + g];
        }
        most_echo = std::max(most_echo, of_echo);
        most_induction = std::max(most_induction, of_induction);
      }
      echo.push_back(most_echo / static_cast<double>(pieces.size()));
      induction.push_back(most_induction / static_cast<double>(pieces.size()));
    }
    return out;
  }

 private:
  // Without repetition: a token that stood twice in a period would blur the scores.
  std::vector<TokenId> draw(uint32_t round) const {
    std::vector<TokenId> out = vocabulary_;
    std::mt19937_64 random(options_.seed * 1000003 + round);
    for (uint32_t i = 0; i < options_.period; ++i) std::swap(out[i], out[i + random() % (out.size() - i)]);
    out.resize(options_.period);
    return out;
  }

  Subject& subject_;
  std::vector<TokenId> vocabulary_;
  RazorOptions options_;
};

}  // namespace

Result<std::unique_ptr<Calibration>> razor(Subject& subject, RazorOptions options) {
  LOCI_TRY(std::vector<TokenId> vocabulary, ordinary_tokens(subject.tokenizer()));
  if (options.period == 0 || options.period > vocabulary.size()) {
    return fail(
        ErrorCode::kInvalidArgument,
        "a copy of {} tokens without repetition needs a vocabulary of as many, this one has {}; take a --length "
        "of at most {}",
        options.period, vocabulary.size(), vocabulary.size() * kCopies);
  }
  return std::unique_ptr<Calibration>(std::make_unique<Razor>(subject, std::move(vocabulary), std::move(options)));
}

}  // namespace loci

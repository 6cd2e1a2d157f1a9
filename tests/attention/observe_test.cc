// Attention probabilities that methods choose by, against a softmax in fp64 (SnapKV, arXiv:2404.14469, section 4).
#include "attention/stages/observe.h"

#include "attention/one_layer.h"
#include "attention/select/plain_select.h"

namespace loci::test {
namespace {

// Numbers that fp16 holds.
void coarsen(std::vector<float>& numbers) {
  for (float& x : numbers) x = std::round(x * 64) / 64;
}

TEST(Observe, RowsAreTheSoftmaxAndVotesAddUpToTheWindow) {
  constexpr uint32_t kTokens = 333, kWindow = 24;
  for (const Isa isa : supported_isas()) {
    OneLayer layer("dense", {.isa = isa});
    Rows3 x = layer.random_rows(kTokens, 6, 0.7F);
    coarsen(x.k);
    layer.feed(x, kTokens, 200);
    const ModelShape& model = layer.model();
    ThreadPool pool(2);
    const uint32_t width = observed_width(layer.cache().tables(LayerId(0))[0]);
    const size_t rows = size_t{kWindow} * model.group();
    Workspace scratch = std::move(*Workspace::allocate(observe_scratch_bytes(model, kWindow, 2)));
    OpContext ops{pool, isa, scratch};
    SequenceState state;
    const RequestFacts facts;
    const uint32_t first = kTokens - kWindow;
    const View view{.ops = ops,
                    .model = model,
                    .facts = facts,
                    .cache = layer.cache(),
                    .phase = Phase::kPrefill,
                    .prompt_ends = true,
                    .first_position = first,
                    .queries = {&x.q[size_t{first} * model.q_width()], kWindow, model.q_width(), model.q_width()},
                    .state = MethodState(state, 0, 0, kTokens)};
    const Table& table = view.tables()[0];
    for (size_t head = 0; head < table.heads().size(); ++head) {
      std::vector<float> seen(rows * width, -1.0F), lse(rows);
      observe(view, table, head, 0, kWindow, {seen.data(), static_cast<uint32_t>(rows), width, width}, lse);
      double votes = 0, own = 0;
      for (uint32_t r = 0; r < rows; ++r) {
        const uint32_t position = first + r / model.group();
        const auto query_head = static_cast<uint32_t>(table.heads()[head].value * model.group() + r % model.group());
        std::vector<double> p(position + 1);
        double sum = 0;
        for (uint32_t j = 0; j <= position; ++j)
          sum += p[j] = std::exp(model.score_scale * plain_score(x, model, position, query_head, j));
        for (uint32_t j = 0; j < kTokens; ++j) {
          const double got = seen[r * width + j];
          ASSERT_NEAR(got, j <= position ? p[j] / sum : 0, 1e-5) << to_string(isa) << " row " << r << " entry " << j;
          (j < first ? votes : own) += got / model.group();
        }
        EXPECT_NEAR(lse[r], std::log(sum), 1e-4);
      }
      EXPECT_NEAR(votes + own, kWindow, 1e-3);
    }
  }
}

}  // namespace
}  // namespace loci::test

// MQAR (Zoology, arXiv 2312.04927, Apache-2.0): multi-query associative recall on bare tokens. Pairs of a key and a
// value are read, then each key is met once more, in the decode steps that follow, and the model is to foresee its
// value. What stands behind a queried key is filler all the same.
//
// Keys, values and places are drawn as published; tokens are words of the model's own vocabulary, at most 8,192 of
// them.
#include <algorithm>
#include <cmath>

#include "eval/suites.h"

namespace loci {
namespace {

constexpr double kPower = 0.01;  // of the law by which queries follow the pairs: most come soon

struct Protocol {
  uint32_t tokens_per_pair = 4;  // of the whole sequence
  bool random_filler = true;     // else one token again and again
  double updated = 0;            // of the keys: they get another value behind all pairs
};

// Ids below half of the vocabulary are keys, the others values; 0 is filler.
Sample associative_recall(const SampleInput& input, const Protocol& protocol) {
  const size_t vocabulary = input.vocabulary.size();
  const size_t length = size_t{2} * input.units;
  const size_t keys_there_are = vocabulary / 2 - 1;
  const size_t value_ids = vocabulary - vocabulary / 2;
  const size_t pairs = std::clamp<size_t>(length / protocol.tokens_per_pair, 1, keys_there_are);
  const auto updates = static_cast<size_t>(protocol.updated * static_cast<double>(pairs));
  MersenneTwister numpy(static_cast<uint32_t>(input.sample_seed));
  const auto draw = [&](size_t first, size_t end) {
    std::vector<size_t> drawn = numpy_permutation(numpy, end - first);
    drawn.resize(pairs);
    for (size_t& id : drawn) id += first;
    return drawn;
  };
  const std::vector<size_t> keys = draw(1, vocabulary / 2);
  std::vector<size_t> values = draw(vocabulary / 2, vocabulary);

  std::vector<size_t> ids;
  for (size_t i = 0; i < pairs; ++i) ids.insert(ids.end(), {keys[i], values[i]});
  // As published, a new value differs from that of the j-th key, whichever key it goes to.
  std::vector<size_t> fresh;
  for (size_t j = 0; j < updates; ++j) {
    const auto other =
        vocabulary / 2 + static_cast<size_t>(numpy_randint(numpy, 0, static_cast<int64_t>(value_ids - 1)));
    fresh.push_back(other + (other >= values[j] ? 1 : 0));
  }
  const std::vector<size_t> updated = numpy_permutation(numpy, updates > 0 ? pairs : 0);
  for (size_t j = 0; j < updates; ++j) {
    values[updated[j]] = fresh[j];
    ids.insert(ids.end(), {keys[updated[j]], fresh[j]});
  }

  Sample sample;
  Recall& recall = sample.recall;
  recall.context = static_cast<uint32_t>(ids.size());
  const size_t space = (length - ids.size()) / 2;
  std::vector<double> weights(space);
  for (size_t i = 0; i < space; ++i) weights[i] = kPower * std::pow(static_cast<double>(i + 1), kPower - 1);
  const std::vector<size_t> gaps = numpy_weighted_choice(numpy, weights, pairs);
  ids.resize(length, 0);
  for (size_t i = 0; i < pairs; ++i) {
    const size_t at = recall.context + 2 * gaps[i];
    ids[at] = keys[i];
    recall.queries.push_back({static_cast<uint32_t>(at), input.vocabulary[values[i]]});
  }
  std::sort(recall.queries.begin(), recall.queries.end(),
            [](const Recall::Query& a, const Recall::Query& b) { return a.at < b.at; });
  if (protocol.random_filler) {
    PythonRandom random(input.sample_seed);
    for (size_t& id : ids) {
      if (id == 0) id = static_cast<size_t>(random.below(vocabulary));
    }
  }
  for (const size_t id : ids) recall.tokens.push_back(input.vocabulary[id]);
  return sample;
}

Sample mqar(const SampleInput& input) { return associative_recall(input, {}); }
Sample mqar_sparse(const SampleInput& input) {
  return associative_recall(input, {.tokens_per_pair = 16, .random_filler = false});
}
Sample mqar_updates(const SampleInput& input) {
  return associative_recall(input, {.tokens_per_pair = 8, .updated = 0.5});
}

}  // namespace

std::vector<Task> mqar_tasks() {
  constexpr std::string_view kSuite = "mqar";
  constexpr std::string_view kSource = "Zoology, arXiv 2312.04927, Apache-2.0";
  std::vector<Task> tasks{
      {kSuite, "mqar", "values of keys among random tokens, a pair in 4 tokens", kSource, Scorer::kAll, 1, 8, mqar},
      {kSuite, "mqar_sparse", "values of keys among one repeated token, a pair in 16 tokens", kSource, Scorer::kAll, 1,
       16, mqar_sparse},
      {kSuite, "mqar_updates", "values of keys, half of them set twice, a pair in 8 tokens", kSource, Scorer::kAll, 1,
       16, mqar_updates}};
  for (Task& task : tasks) task.asking = Asking::kRecall;
  return tasks;
}

}  // namespace loci

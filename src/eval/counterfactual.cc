// Counterfactual probes of methods that gate heads (PH3, arXiv 2402.18154): the prompt states a wrong capital, then
// asks for it in the same words. Does the answer follow the context or the model's memory? Both rates, over the same
// prompts; those of a fact that the model does not know (task closed_book) say nothing about memory.
//
// The statement stands in an essay that fills the prompt, so that caches have something to forget.
#include <fmt/format.h>

#include <algorithm>

#include "eval/capitals.h"
#include "eval/suites.h"

namespace loci {
namespace {

constexpr std::string_view kStatement = "The name of the capital city of {} is {}.";
// A paragraph whose sentences agree with each other persuades more than one sentence.
constexpr std::string_view kParagraph =
    "The name of the capital city of {0} is {1}. The parliament of {0} has met in {1} for many years, and most of its "
    "ministries have their seats there. Embassies of other countries moved to {1} long ago. Whoever travels to {0} on "
    "business of the state goes to {1}.";

// `statement` has places for the country and the city; an empty one is left out.
Sample cloze(const SampleInput& input, std::string_view statement, bool follows_context) {
  const Conflict conflict = draw_conflict(input.seed, input.index);
  Sample sample;
  const std::string told =
      statement.empty() ? "" : fmt::format(fmt::runtime(statement), conflict.fact.country, conflict.other);
  const uint32_t words = input.units - 1;
  const auto before = static_cast<uint32_t>(input.depth.value_or(spread_depth(input.index)) * words);
  const Essay& essay = input.data.essay;
  const auto add = [&](const std::string& text) {
    if (!text.empty()) sample.prompt += text + " ";
  };
  add(essay.first_words(before));
  sample.depth = static_cast<double>(before) / std::max(words, 1U);
  add(told);
  if (before < words) add(essay.words_from(before % std::max<size_t>(essay.words(), 1), words - before));
  sample.beginning = fmt::format("The name of the capital city of {} is", conflict.fact.country);
  sample.answers = {std::string(follows_context ? conflict.other : conflict.fact.city)};
  if (!told.empty()) sample.needles = {told};
  return sample;
}

Sample closed_book(const SampleInput& input) { return cloze(input, {}, false); }
Sample context_sentence(const SampleInput& input) { return cloze(input, kStatement, true); }
Sample memory_sentence(const SampleInput& input) { return cloze(input, kStatement, false); }
Sample context_paragraph(const SampleInput& input) { return cloze(input, kParagraph, true); }
Sample memory_paragraph(const SampleInput& input) { return cloze(input, kParagraph, false); }

}  // namespace

std::vector<Task> counterfactual_tasks() {
  constexpr std::string_view kSuite = "counterfactual";
  constexpr std::string_view kSource = "after PH3, arXiv 2402.18154; own facts";
  constexpr uint32_t kTokens = 8;
  return {{kSuite, "closed_book", "capitals that nothing in the prompt tells", kSource, Scorer::kBegins, kTokens, 1,
           closed_book},
          {kSuite, "context_sentence", "how often a contradicting sentence is followed", kSource, Scorer::kBegins,
           kTokens, 1, context_sentence},
          {kSuite, "memory_sentence", "how often memory withstands the same sentence", kSource, Scorer::kBegins,
           kTokens, 1, memory_sentence},
          {kSuite, "context_paragraph", "how often a contradicting paragraph is followed", kSource, Scorer::kBegins,
           kTokens, 1, context_paragraph},
          {kSuite, "memory_paragraph", "how often memory withstands the same paragraph", kSource, Scorer::kBegins,
           kTokens, 1, memory_paragraph}};
}

}  // namespace loci

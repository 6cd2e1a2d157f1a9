// RULER's question answering: the documents that a question is about, among others.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "eval/ruler.h"

namespace loci {
namespace {

// The question's own documents, then `count` in all: related ones first, then any.
std::vector<size_t> choose_documents(const QuestionSet& set, const QuestionSet::Question& question, size_t count,
                                     PythonRandom& random) {
  std::vector<size_t> out = question.documents;
  const size_t more = count - std::min(count, out.size());
  if (more <= question.related.size()) {
    for (const size_t i : random.sample(question.related.size(), more)) out.push_back(question.related[i]);
    return out;
  }
  out.insert(out.end(), question.related.begin(), question.related.end());
  const std::set<size_t> taken(out.begin(), out.end());
  std::vector<size_t> others;
  for (size_t i = 0; i < set.documents.size(); ++i) {
    if (taken.count(i) == 0) others.push_back(i);
  }
  const size_t missing = std::min(count - std::min(count, out.size()), others.size());
  for (const size_t i : random.sample(others.size(), missing)) out.push_back(others[i]);
  return out;
}

constexpr std::string_view kInstruction =
    "Answer the question based on the given documents. Only give me the answer and do not output any other words.";

Sample answer_question(const SampleInput& input, const QuestionSet& set) {
  const QuestionSet::Question& question = set.questions[input.index % set.questions.size()];
  PythonRandom random(input.sample_seed);
  std::vector<size_t> documents(set.documents.size());
  for (size_t i = 0; i < documents.size(); ++i) documents[i] = i;
  if (input.units < documents.size()) documents = choose_documents(set, question, input.units, random);
  PythonRandom(input.seed).shuffle(documents);
  std::string context;
  size_t first = std::string::npos;
  for (size_t i = 0; i < documents.size(); ++i) {
    const bool own = std::count(question.documents.begin(), question.documents.end(), documents[i]) > 0;
    if (own && first == std::string::npos) first = context.size();
    context += fmt::format("{}Document {}:\n{}", i == 0 ? "" : "\n\n", i + 1, set.documents[documents[i]]);
  }
  Sample sample;
  sample.prompt = fmt::format("{}\n\nThe following are given documents.\n\n{}\n\n{}\n\nQuestion: {}", kInstruction,
                              context, kInstruction, question.text);
  sample.beginning = " Answer:";
  sample.answers = question.answers;
  for (const size_t i : question.documents) sample.needles.push_back(set.documents[i]);
  sample.depth = static_cast<double>(std::min(first, context.size())) / static_cast<double>(context.size());
  return sample;
}

}  // namespace

Sample squad_question(const SampleInput& input) { return answer_question(input, input.data.squad); }

Sample hotpotqa_question(const SampleInput& input) { return answer_question(input, input.data.hotpotqa); }

}  // namespace loci

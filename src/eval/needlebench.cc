// NeedleBench (arXiv 2407.11963; OpenCompass, Apache-2.0), English. One fact or eleven in an essay (single and multi
// retrieval), a chain of relatives in an essay (multi reasoning), and nothing but such a chain (the Ancestral Trace
// Challenge). The chains are drawn as published; names and facts, which lie in a data set of its own, are made here,
// and places in the text are counted in words.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>

#include "eval/suites.h"

namespace loci {
namespace {

constexpr std::string_view kNeedleBench = "NeedleBench, arXiv 2407.11963, Apache-2.0";

constexpr std::array<std::string_view, 25> kFirstNames{
    "Aaron",  "Bella", "Carl",   "Diana",  "Edgar",  "Fiona",  "George", "Hannah",  "Ivan",
    "Julia",  "Karen", "Leon",   "Martha", "Nathan", "Olivia", "Peter",  "Quentin", "Rose",
    "Samuel", "Tina",  "Ursula", "Victor", "Wendy",  "Xavier", "Yvonne"};
constexpr std::array<std::string_view, 20> kLastNames{
    "Abbott", "Barnes", "Carver", "Dalton", "Emerson", "Fletcher", "Graham", "Harris", "Ingram", "Jensen",
    "Keller", "Lawson", "Morgan", "Norris", "Osborne", "Palmer",   "Reeves", "Sutton", "Turner", "Walsh"};

std::string name_at(size_t index) {
  return fmt::format("{} {}", kFirstNames[index / kLastNames.size()], kLastNames[index % kLastNames.size()]);
}

struct Relation {
  std::string_view term;
  uint32_t generations;
};

constexpr std::array<Relation, 10> kRelations{{{"father", 1},
                                               {"mother", 1},
                                               {"dad", 1},
                                               {"mom", 1},
                                               {"grandfather", 2},
                                               {"grandmother", 2},
                                               {"maternal grandmother", 2},
                                               {"maternal grandfather", 2},
                                               {"paternal grandfather", 2},
                                               {"paternal grandmother", 2}}};

// {0} is older than {1}, as the {2}.
constexpr std::array<std::string_view, 7> kLinks{
    "{0} is {1}'s {2}.",
    "{1}'s {2} is {0}.",
    "{0}, as {1}'s {2}, has a significant impact on {1}'s upbringing.",
    "{0} is not only {1}'s {2} but also {1}'s role model.",
    "During {1}'s upbringing, {0} was not only {1}'s {2}, but also {1}'s guardian.",
    "For {1}, {0} is not just a {2}, but also a friend.",
    "For {1}, {0} is more than just a {2}; {0} is a lifelong mentor of {1}."};

struct FamilyChain {
  std::vector<std::string> names;  // the eldest first
  std::vector<std::string> links;  // shuffled
  uint32_t generations = 0;        // between the first and the last
};

FamilyChain draw_chain(PythonRandom& random, uint32_t links) {
  FamilyChain chain;
  for (const size_t i : random.sample(kFirstNames.size() * kLastNames.size(), size_t{links} + 1)) {
    chain.names.push_back(name_at(i));
  }
  for (uint32_t i = 0; i < links; ++i) {
    const std::string_view link = kLinks[static_cast<size_t>(random.below(kLinks.size()))];
    const Relation& relation = kRelations[static_cast<size_t>(random.below(kRelations.size()))];
    chain.links.push_back(fmt::format(fmt::runtime(link), chain.names[i], chain.names[i + 1], relation.term));
    chain.generations += relation.generations;
  }
  random.shuffle(chain.links);
  return chain;
}

// In percent: the published grid of eleven depths, one after the other.
double depth_of(const SampleInput& input) {
  return input.depth ? *input.depth * 100 : static_cast<double>(input.index % 11 * 10);
}

std::vector<std::string> split_at_blanks(const std::string& text) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

// An essay into which needles go, each on a line of its own.
class Document {
 public:
  explicit Document(const SampleInput& input) : words_(split_at_blanks(input.data.essay.first_words(input.units))) {}

  size_t size() const { return words_.size(); }

  // Before the word at `place`, of all that stand there already, or at the end. Returns how many words came in.
  size_t insert(size_t place, const std::string& needle) {
    needles_.push_back(needle);
    const std::vector<std::string> added = split_at_blanks("\n" + needle + "\n");
    words_.insert(words_.begin() + static_cast<ptrdiff_t>(std::min(place, size())), added.begin(), added.end());
    return added.size();
  }

  // The prompt is the document alone.
  Sample sample() const {
    Sample out;
    out.prompt = fmt::format("{}", fmt::join(words_, " "));
    out.needles = needles_;
    const size_t first = out.prompt.find(needles_.front());
    out.depth = static_cast<double>(first) / static_cast<double>(std::max<size_t>(out.prompt.size(), 1));
    return out;
  }

 private:
  std::vector<std::string> words_;
  std::vector<std::string> needles_;
};

struct Fact {
  std::string needle, question, format, keyword;
};

std::string capitalized(std::string word) {
  if (!word.empty()) word[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(word[0])));
  return word;
}

// "able-dory" as "Able Dory".
std::string title(std::string pair) {
  const size_t hyphen = std::min(pair.find_last_of('-'), pair.size());
  if (hyphen == pair.size()) return capitalized(std::move(pair));
  return capitalized(pair.substr(0, hyphen)) + " " + capitalized(pair.substr(hyphen + 1));
}

Fact draw_fact(const SuiteData& data, PythonRandom& random) {
  const std::string subject = title(data.keys.at(random.below(data.keys.size())));
  const std::string object = title(data.keys.at(random.below(data.keys.size())));
  if (random.below(2) == 0) {
    return {fmt::format("Hidden on {} Island is the legendary {}.", subject, object),
            fmt::format("What legendary item is hidden on {} Island?", subject),
            fmt::format("The legendary item hidden on the {} Island is ______", subject), object};
  }
  return {fmt::format("The ruler of the {} star system is {}.", subject, object),
          fmt::format("Who is the ruler of the {} star system?", subject),
          fmt::format("The ruler of the {} star system is ______", subject), object};
}

constexpr std::string_view kDocument =
    "The content of the long document is as follows\n\n<Document>\n{}\n</Document>\n\nBased on the information in the "
    "document, now please answer: {}\n";

Sample single_retrieval(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  const Fact fact = draw_fact(input.data, random);
  Document document(input);
  document.insert(static_cast<size_t>(static_cast<double>(document.size()) * (depth_of(input) / 100)), fact.needle);
  Sample sample = document.sample();
  sample.prompt =
      "This is a test of long-text capability. You need to first read the long document below, and then answer the "
      "final question based on the information in the document.\n" +
      fmt::format(fmt::runtime(kDocument), sample.prompt,
                  fmt::format("{} Please answer in the format '{}.'", fact.question, fact.format));
  sample.answers = {fact.keyword};
  return sample;
}

Sample multi_retrieval(const SampleInput& input) {
  constexpr size_t kFacts = 11;  // one at each tenth
  PythonRandom random(input.sample_seed);
  Document document(input);
  const size_t size = document.size();
  size_t inserted = 0;
  std::vector<std::string> questions, formats, keywords;
  for (size_t i = 0; i < kFacts; ++i) {
    const Fact fact = draw_fact(input.data, random);
    inserted += document.insert(size * i / (kFacts - 1) + inserted, fact.needle);
    questions.push_back(fact.question);
    formats.push_back(fact.format);
    keywords.push_back(fact.keyword);
  }
  Sample sample = document.sample();
  sample.prompt =
      "This is a test of long-text capability. You need to first read the long document below, and then answer the "
      "final questions one by one based on the information in the document.\n" +
      fmt::format(
          fmt::runtime(kDocument), sample.prompt,
          fmt::format("{}Please answer in the format of '{}'", fmt::join(questions, "、"), fmt::join(formats, "、")));
  sample.answers = std::move(keywords);
  return sample;
}

constexpr std::string_view kExamples =
    "For example:\nExample 1: If James Hill's father is Jasmine Lane, and no further information about familial "
    "relationships is provided in the text, then the oldest relative James Hill can trace back to in the provided text "
    "is \\boxed{Jasmine Lane}.\nExample 2: If Andrew Williams's grandmother is Dan Newton, and Dan Newton's father is "
    "James Hill, and no further information about familial relationships is provided in the text, then the oldest "
    "relative Andrew Williams can trace back to in the provided text is \\boxed{James Hill}.\nExample 3: If Jeff "
    "White's "
    "father is Kevin Le, Dan Newton's grandmother is Jeff White, and Jeff White's father is Kevin Le, and Shelley "
    "Mills "
    "is Dan Newton's great-granddaughter, and no further information about familial relationships is provided in the "
    "text, then the oldest relative Shelley Mills can trace back to in the provided text is \\boxed{Kevin Le}.\n\n"
    "Notes:\n1. You do not need to worry about the gender consistency of names in this test. For example, a name that "
    "is "
    "typically considered feminine can still be the father of another person. Our primary focus is on who is "
    "older.\n2. "
    "Ignore surname inheritance issues. For instance, Andrew Williams could still be the biological father of "
    "Christopher Baker. We only care about who is older and do not need to consider whether a child should inherit the "
    "father's or mother's surname.\n3. At the end of your response, remember to put your final answer within "
    "\\boxed{}. For example: ";

Sample multi_reasoning(const SampleInput& input, uint32_t links) {
  constexpr double kApart = 10;  // percent of the text between a needle's end and the next
  PythonRandom random(input.sample_seed);
  const FamilyChain chain = draw_chain(random, links);
  Document document(input);
  const size_t size = document.size();
  std::vector<size_t> places;
  size_t before = 0;  // words of the needles so far
  for (const std::string& link : chain.links) {
    const size_t last = places.empty() ? 0 : split_at_blanks(chain.links[places.size() - 1]).size();
    const double share = (places.empty() ? depth_of(input) : kApart) / 100;
    const double place =
        static_cast<double>(places.empty() ? 0 : places.back() + last) + static_cast<double>(size) * share;
    places.push_back(std::min(static_cast<size_t>(place), size + before));
    before += split_at_blanks(link).size();
  }
  // The published code counts the length of a needle here once more.
  size_t inserted = 0;
  for (size_t i = 0; i < places.size(); ++i) inserted += document.insert(places[i] + inserted, chain.links[i]);
  Sample sample = document.sample();
  sample.prompt = fmt::format(
      "This is a test of long-text capability. You need to first read the long document below, and then answer the "
      "final question based on the information in the document.\n{}\n{}\"So the oldest relative '{}' can trace back to "
      "in the provided text is \\boxed{{(your answer here)}}.\"\n\n",
      fmt::format(
          fmt::runtime(kDocument), sample.prompt,
          fmt::format(
              "Given the context described above, who is the eldest relative that '{}' can trace back to in the "
              "context?",
              chain.names.back())),
      kExamples, chain.names.back());
  sample.answers = {chain.names.front()};
  return sample;
}

Sample multi_reasoning_2(const SampleInput& input) { return multi_reasoning(input, 2); }
Sample multi_reasoning_3(const SampleInput& input) { return multi_reasoning(input, 3); }
Sample multi_reasoning_4(const SampleInput& input) { return multi_reasoning(input, 4); }
Sample multi_reasoning_5(const SampleInput& input) { return multi_reasoning(input, 5); }

constexpr std::string_view kOneGeneration =
    "Notes:\n1. You do not need to worry about the gender consistency of names in this test. We only care about "
    "{}.\n2. "
    "Ignore surname inheritance issues. We only care about familial relationships.\n3. Father/mother/dad/mom count as "
    "1 "
    "generation, while grandfather/grandmother/maternal grandmother/maternal grandfather/paternal grandfather/paternal "
    "grandmother count as 2 generations.\n4. At the end of your response, remember to put your final answer within "
    "\\boxed{{}}. For example: \"{}\"\n\nNow, the scrambled family relationships are provided below:\n";

// Nothing but the chain: a unit is a link.
Sample trace(const SampleInput& input, const std::function<std::string(const FamilyChain&)>& before,
             const std::function<std::string(const FamilyChain&)>& question,
             const std::function<std::string(const FamilyChain&)>& answer) {
  PythonRandom random(input.sample_seed);
  const FamilyChain chain = draw_chain(random, input.units);
  Sample sample;
  sample.prompt = fmt::format("{}{}\n\nGiven the scrambled family relationships described above, {}?\n", before(chain),
                              fmt::join(chain.links, ""), question(chain));
  sample.answers = {answer(chain)};
  sample.needles = chain.links;
  return sample;
}

std::string test_of(std::string_view task) {
  return fmt::format(
      "Here is a test for multi-step reasoning ability called the Ancestral Trace Challenge. In this test, we will "
      "simulate different people's familial relationships, and your task is to {}.\n\n",
      task);
}

Sample eldest_ancestor(const SampleInput& input) {
  return trace(
      input,
      [](const FamilyChain& chain) {
        return test_of("continuously reason through them until you identify the eldest ancestor") +
               std::string(kExamples) +
               fmt::format(
                   "\"So the oldest relative '{}' can trace back to in the provided text is \\boxed{{somebody "
                   "(your answer here)}}.\"\n\nNow, the scrambled family relationships are provided below:\n",
                   chain.names.back());
      },
      [](const FamilyChain& chain) {
        return fmt::format("who is the eldest relative that '{}' can trace back to in the context", chain.names.back());
      },
      [](const FamilyChain& chain) { return chain.names.front(); });
}

Sample nth_ancestor(const SampleInput& input) {
  return trace(
      input,
      [](const FamilyChain& chain) {
        return test_of("identify a specific ancestor of a given person") +
               "For example:\nExample 1: If James Hill's father is Jasmine Lane, then Jasmine Lane is James Hill's 1st "
               "generation ancestor.\nExample 2: If Andrew Williams's grandmother is Dan Newton (grandmother counts as "
               "2 generations), and Dan Newton's father is James Hill, then Dan Newton is Andrew Williams's 2nd "
               "generation ancestor, and James Hill is Andrew Williams's 3rd generation ancestor.\nExample 3: If "
               "Shelley Mills's grandfather is Jeff White (grandfather counts as 2 generations), and Jeff White's "
               "mother is Mary Johnson, then Jeff White is Shelley Mills's 2nd generation ancestor, and Mary Johnson "
               "is "
               "Shelley Mills's 3rd generation ancestor.\n\n" +
               fmt::format(
                   fmt::runtime(kOneGeneration), "generational relationships",
                   fmt::format("So the {}th generation ancestor of '{}' is \\boxed{{somebody (your answer here)}}.",
                               chain.generations, chain.names.back()));
      },
      [](const FamilyChain& chain) {
        return fmt::format("who is the {}th generation ancestor of '{}'", chain.generations, chain.names.back());
      },
      [](const FamilyChain& chain) { return chain.names.front(); });
}

Sample nth_descendant(const SampleInput& input) {
  return trace(
      input,
      [](const FamilyChain& chain) {
        return test_of("identify a specific descendant of a given person") +
               "For example:\nExample 1: If Jasmine Lane is James Hill's father, then James Hill is Jasmine Lane's 1st "
               "generation descendant.\nExample 2: If Dan Newton is Andrew Williams's grandmother (grandmother counts "
               "as 2 generations), and James Hill is Dan Newton's father, then Andrew Williams is Dan Newton's 2nd "
               "generation descendant, and Andrew Williams is James Hill's 3rd generation descendant.\nExample 3: If "
               "Jeff White is Shelley Mills's grandfather (grandfather counts as 2 generations), and Mary Johnson is "
               "Jeff White's mother, then Shelley Mills is Jeff White's 2nd generation descendant, and Shelley Mills "
               "is "
               "Mary Johnson's 3rd generation descendant.\n\n" +
               fmt::format(
                   fmt::runtime(kOneGeneration), "generational relationships",
                   fmt::format("So the {}th generation descendant of '{}' is \\boxed{{somebody (your answer here)}}.",
                               chain.generations, chain.names.front()));
      },
      [](const FamilyChain& chain) {
        return fmt::format("who is the {}th generation descendant of '{}'", chain.generations, chain.names.front());
      },
      [](const FamilyChain& chain) { return chain.names.back(); });
}

Sample relationship_distance(const SampleInput& input) {
  return trace(
      input,
      [](const FamilyChain& chain) {
        return test_of("calculate the relationship distance between two individuals") +
               "The relationship distance is defined as the minimum number of generational gaps needed to go from one "
               "person to another in the family graph. Note that different relationships have different generational "
               "gaps. For example:\nExample 1: If Jasmine Lane is James Hill's father (father counts as 1 generation), "
               "then the relationship distance between James Hill and Jasmine Lane is 1.\nExample 2: If Dan Newton is "
               "Andrew Williams's grandmother (grandmother counts as 2 generations), and James Hill is Dan Newton's "
               "father (father counts as 1 generation), then the relationship distance between Andrew Williams and Dan "
               "Newton is 2, and the relationship distance between Andrew Williams and James Hill is 3.\nExample 3: If "
               "Jeff White is Shelley Mills's grandfather (grandfather counts as 2 generations), and Mary Johnson is "
               "Jeff White's mother (mother counts as 1 generation), then the relationship distance between Shelley "
               "Mills and Jeff White is 2, and the relationship distance between Shelley Mills and Mary Johnson is "
               "3.\n\n" +
               fmt::format(fmt::runtime(kOneGeneration), "relationship connections",
                           fmt::format("So the relationship distance between '{}' and '{}' is \\boxed{{5}}.",
                                       chain.names.front(), chain.names.back()));
      },
      [](const FamilyChain& chain) {
        return fmt::format("what is the relationship distance between '{}' and '{}'", chain.names.front(),
                           chain.names.back());
      },
      [](const FamilyChain& chain) { return fmt::format("{}", chain.generations); });
}

}  // namespace

std::vector<Task> needlebench_tasks() {
  constexpr std::string_view kSuite = "needlebench";
  constexpr uint32_t kReasonTokens = 256;
  std::vector<Task> tasks{
      {kSuite, "single_retrieval", "a fact in an essay", kNeedleBench, Scorer::kContains, 32, 1, single_retrieval},
      {kSuite, "multi_retrieval", "eleven facts in an essay", kNeedleBench, Scorer::kContains, 32, 1, multi_retrieval},
      {kSuite, "multi_reasoning_2", "the eldest of a family whose 2 links are hidden in an essay", kNeedleBench,
       Scorer::kBoxed, kReasonTokens, 1, multi_reasoning_2},
      {kSuite, "multi_reasoning_3", "the same of 3 links", kNeedleBench, Scorer::kBoxed, kReasonTokens, 1,
       multi_reasoning_3},
      {kSuite, "multi_reasoning_4", "the same of 4 links", kNeedleBench, Scorer::kBoxed, kReasonTokens, 1,
       multi_reasoning_4},
      {kSuite, "multi_reasoning_5", "the same of 5 links", kNeedleBench, Scorer::kBoxed, kReasonTokens, 1,
       multi_reasoning_5}};
  const auto most_links = [](const SuiteData&) {
    return static_cast<uint32_t>(kFirstNames.size() * kLastNames.size() - 1);
  };
  const auto add_trace = [&](std::string_view name, std::string_view measures, Sample (*generate)(const SampleInput&)) {
    tasks.push_back({kSuite, name, measures, kNeedleBench, Scorer::kBoxed, kReasonTokens, 2, generate, most_links});
  };
  add_trace("eldest_ancestor", "the eldest at the end of a chain of relatives", eldest_ancestor);
  add_trace("nth_ancestor", "the ancestor so many generations back", nth_ancestor);
  add_trace("nth_descendant", "the descendant so many generations on", nth_descendant);
  add_trace("relationship_distance", "the generations between two relatives", relationship_distance);
  for (Task& task : tasks) task.one_line = task.scorer != Scorer::kBoxed && task.name != "multi_retrieval";
  return tasks;
}

}  // namespace loci

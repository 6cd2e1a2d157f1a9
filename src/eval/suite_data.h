// What the prompts of the suites are made of: a haystack and lists of words. Made once per run, read by all generators;
// immutable, so safe to share among threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eval/question_set.h"

namespace loci {

// White space collapsed to single blanks.
std::string collapse_white_space(std::string_view text);
// Sentences of collapsed text: each ends in '.', '?' or '!' before a blank.
std::vector<std::string_view> split_sentences(std::string_view text);
std::vector<std::string> split_lines(std::string_view text);  // without the ends of lines, an empty last line left out

// A text whose first n words can be had for any n: behind its end it begins again.
class Essay {
 public:
  explicit Essay(std::string_view text);
  size_t words() const { return ends_.size(); }
  std::string_view word(size_t index) const;  // index < words()
  // Joined by blanks; an empty text has none.
  std::string first_words(size_t count) const { return words_from(0, count); }
  std::string words_from(size_t first, size_t count) const;  // first < words()
  // The first word of the first sentence that begins at or behind a word; of the text, if none does.
  size_t sentence_at(size_t word) const;
  bool begins_sentence(size_t word) const;  // word < words()

 private:
  std::string text_;
  std::vector<size_t> ends_;  // of the words
};

// All pairs "adjective-noun" in the order of their strings, none of them held in memory.
class WordPairs {
 public:
  WordPairs(std::vector<std::string> adjectives, std::vector<std::string> nouns);
  uint64_t size() const { return size_; }
  std::string at(uint64_t index) const;

 private:
  struct Run {  // one adjective before nouns [first, first + count)
    size_t adjective = 0;
    size_t first = 0;
    size_t count = 0;
  };
  size_t add_runs(size_t adjective);
  void add_run(size_t adjective, size_t first, size_t end);

  std::vector<std::string> adjectives_;
  std::vector<std::string> nouns_;
  std::vector<Run> runs_;
  uint64_t size_ = 0;
};

// Every fifth word of a list, sorted, words in lower case letters alone: those that training of the model `needle` has
// left out of its keys.
std::vector<std::string> held_out_words(std::string_view list);

// A question of the user's own.
struct JsonlRecord {
  std::string context, input;
  std::vector<std::string> answers;
};

struct SuiteTexts {
  std::string haystack;
  std::string title{"Moby-Dick"};  // of the haystack, where a question names it
  std::string adjectives;          // a word a line, likewise the others
  std::string nouns;
  std::string verbs;
  bool held_out_keys = false;  // keys are made of the held-out adjectives and nouns
};

struct SuiteData {
  explicit SuiteData(const SuiteTexts& texts, QuestionSet squad_set = {}, QuestionSet hotpotqa_set = {});

  Essay essay;
  std::string title;
  WordPairs keys;
  std::vector<std::string> words;  // nouns, adjectives and verbs, sorted, each once
  QuestionSet squad, hotpotqa;     // empty if the user has given none, like the records
  std::vector<JsonlRecord> records;
  std::string record_prompt;  // with {context} and {input}
};

}  // namespace loci

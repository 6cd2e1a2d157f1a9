#include "eval/question_set.h"

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

namespace loci {
namespace {

// The places of documents, once they have been sorted.
class DocumentIndex {
 public:
  void add(std::string document) { places_.emplace(std::move(document), 0); }

  std::vector<std::string> sort() {
    std::vector<std::string> documents;
    for (auto& [document, place] : places_) {
      place = documents.size();
      documents.push_back(document);
    }
    return documents;
  }
  size_t place(const std::string& document) const { return places_.at(document); }

 private:
  std::map<std::string, size_t> places_;
};

std::string titled(const nlohmann::json& entry) {
  std::string out = entry.at(0).get<std::string>() + "\n";
  for (const nlohmann::json& sentence : entry.at(1)) out += sentence.get<std::string>();
  return out;
}

QuestionSet read_squad(const nlohmann::json& json) {
  DocumentIndex index;
  for (const nlohmann::json& article : json.at("data")) {
    for (const nlohmann::json& paragraph : article.at("paragraphs")) index.add(paragraph.at("context"));
  }
  QuestionSet set;
  set.documents = index.sort();
  for (const nlohmann::json& article : json.at("data")) {
    for (const nlohmann::json& paragraph : article.at("paragraphs")) {
      const size_t own = index.place(paragraph.at("context"));
      std::vector<size_t> related;
      for (const nlohmann::json& other : article.at("paragraphs")) {
        const size_t place = index.place(other.at("context"));
        if (place != own) related.push_back(place);
      }
      for (const nlohmann::json& item : paragraph.at("qas")) {
        if (item.at("is_impossible").get<bool>()) continue;
        QuestionSet::Question question{item.at("question"), {}, {own}, related};
        for (const nlohmann::json& answer : item.at("answers")) question.answers.push_back(answer.at("text"));
        set.questions.push_back(std::move(question));
      }
    }
  }
  return set;
}

QuestionSet read_hotpotqa(const nlohmann::json& json) {
  DocumentIndex index;
  for (const nlohmann::json& item : json) {
    for (const nlohmann::json& entry : item.at("context")) index.add(titled(entry));
  }
  QuestionSet set;
  set.documents = index.sort();
  for (const nlohmann::json& item : json) {
    QuestionSet::Question question{item.at("question"), {item.at("answer").get<std::string>()}, {}, {}};
    for (const nlohmann::json& entry : item.at("context")) question.documents.push_back(index.place(titled(entry)));
    set.questions.push_back(std::move(question));
  }
  return set;
}

Result<QuestionSet> parse(std::string_view text, const char* format,
                          const std::function<QuestionSet(const nlohmann::json&)>& read) {
  try {
    QuestionSet set = read(nlohmann::json::parse(text));
    if (!set.questions.empty()) return set;
    return fail(ErrorCode::kCorrupt, "a file of {} has no question that has an answer", format);
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, "a file is not one of {}: {}", format, error.what());
  }
}

}  // namespace

Result<QuestionSet> parse_squad(std::string_view json) { return parse(json, "SQuAD 2.0", read_squad); }

Result<QuestionSet> parse_hotpotqa(std::string_view json) { return parse(json, "HotpotQA", read_hotpotqa); }

}  // namespace loci

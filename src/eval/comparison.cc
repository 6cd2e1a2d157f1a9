#include "eval/comparison.h"

#include <algorithm>

namespace loci {
namespace {

struct Pairs {
  PairedCell cell;
  std::vector<double> first, second;
  std::vector<double> kl;
};

Status check_same_prompt(const PromptResult& a, const PromptResult& b) {
  if (a.answers == b.answers && a.excerpt == b.excerpt) return {};
  return fail(
      ErrorCode::kInvalidArgument,
      "prompt {} of task '{}' at length {} is not the same in both: compare runs of the same seed, haystack and "
      "tokenizer",
      a.key.index, a.key.task, a.key.length);
}

PairedCell finish(const Pairs& pairs) {
  PairedCell cell = pairs.cell;
  cell.prompts = static_cast<uint32_t>(pairs.first.size());
  for (size_t i = 0; i < pairs.first.size(); ++i) {
    cell.first += pairs.first[i];
    cell.second += pairs.second[i];
    cell.better += pairs.second[i] > pairs.first[i] ? 1 : 0;
    cell.worse += pairs.second[i] < pairs.first[i] ? 1 : 0;
  }
  cell.first /= cell.prompts;
  cell.second /= cell.prompts;
  cell.difference = paired_interval(pairs.first, pairs.second);
  if (pairs.kl.size() == pairs.first.size()) cell.kl = bootstrap_interval(pairs.kl);
  return cell;
}

}  // namespace

Result<std::vector<PairedCell>> compare_results(const std::vector<PromptResult>& first, const std::string& first_plan,
                                                const std::vector<PromptResult>& second,
                                                const std::string& second_plan) {
  std::map<PromptKey, const PromptResult*> others;
  for (const PromptResult& b : second) {
    if (b.key.plan == second_plan) others.emplace(b.key, &b);
  }
  std::vector<Pairs> groups;
  for (const PromptResult& a : first) {
    if (a.key.plan != first_plan) continue;
    PromptKey key = a.key;
    key.plan = second_plan;
    const auto found = others.find(key);
    if (found == others.end()) continue;
    const PromptResult& b = *found->second;
    LOCI_CHECK(check_same_prompt(a, b));
    auto group = std::find_if(groups.begin(), groups.end(), [&](const Pairs& pairs) {
      return pairs.cell.task == key.task && pairs.cell.length == key.length;
    });
    if (group == groups.end()) {
      group = groups.insert(groups.end(), Pairs{});
      group->cell.task = key.task;
      group->cell.length = key.length;
    }
    group->first.push_back(a.score);
    group->second.push_back(b.score);
    if (a.kl && b.kl) group->kl.push_back(*b.kl - *a.kl);
  }
  if (groups.empty()) {
    return fail(ErrorCode::kInvalidArgument, "plans '{}' and '{}' have no prompt in common", first_plan, second_plan);
  }
  std::vector<PairedCell> cells;
  for (const Pairs& pairs : groups) cells.push_back(finish(pairs));
  return cells;
}

nlohmann::ordered_json to_json(const PairedCell& cell) {
  nlohmann::ordered_json kl = nullptr;
  if (cell.kl) kl = to_json(*cell.kl);
  return {{"task", cell.task},     {"length", cell.length}, {"prompts", cell.prompts},
          {"first", cell.first},   {"second", cell.second}, {"difference", to_json(cell.difference)},
          {"better", cell.better}, {"worse", cell.worse},   {"kl", kl}};
}

}  // namespace loci

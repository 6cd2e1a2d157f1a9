// The suites, a file each. What a suite adds to `loci eval --suite` is the list of its tasks; all_tasks() joins them.
#pragma once

#include <vector>

#include "eval/suite.h"

namespace loci {

std::vector<Task> infinitebench_tasks();
std::vector<Task> needlebench_tasks();
std::vector<Task> pi_llm_tasks();
std::vector<Task> mqar_tasks();
std::vector<Task> sort_tasks();
std::vector<Task> scbench_tasks();
std::vector<Task> counterfactual_tasks();
std::vector<Task> knowledge_clash_tasks();
std::vector<Task> icl_regression_tasks();

}  // namespace loci

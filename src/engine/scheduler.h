// Runs requests to their ends in ragged batches: every forward pass takes one row of each sequence that decodes and
// fills up with prompt chunks of those that do not yet.
//
// A request is admitted when the pages of its longest possible sequence fit the cache beside the longest of those
// already admitted and the pages that open sessions hold; until then it waits. One that would not fit if all the others
// had ended is refused with numbers, and harms nobody else.
#pragma once

#include <memory>
#include <vector>

#include "engine/admission.h"
#include "engine/generation.h"

namespace loci {

class Scheduler {
 public:
  Scheduler(Core& core, const Tokenizer& tokenizer) : core_(core), tokenizer_(tokenizer) {}

  // One result per request, in order. Each request gets a sequence of its own.
  std::vector<Result<Completion>> run(std::span<const Request> requests);
  // One request on a given sequence, whose tokens stay as they were if the request is refused.
  Result<Completion> run(const Request& request, Sequence& sequence);

 private:
  struct Job {
    size_t index = 0;  // of the request
    std::unique_ptr<Sequence> owned;
    std::unique_ptr<Generation> generation;
    Claim claim() const { return {&generation->sequence(), generation->prompt_end(), generation->most_fed()}; }
  };

  Status admit(const Request& request, size_t index, std::vector<Job>& jobs, bool& waits);
  Status pass(std::span<Job> jobs);

  Core& core_;
  const Tokenizer& tokenizer_;
};

}  // namespace loci

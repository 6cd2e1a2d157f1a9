// Which query heads copy the answer out of the context. Wu et al., Retrieval Head Mechanistically Explains Long-Context
// Factuality, arXiv:2404.15574, section 2.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/calibration.h"
#include "calibrate/needle.h"

namespace loci {

// What a head's rows say about one needle, while the answer is generated token by token.
class CopyCounter {
 public:
  CopyCounter(const Needle& needle, size_t heads);

  // The head's top position in the row that emits `next`, and its attention to the needle's tokens there.
  void add(size_t head, uint32_t top, double mass, TokenId next);
  // The row that emitted `next` has been seen by all heads.
  void end_row(TokenId next);

  // The share of the needle's tokens that the head copied, each counted once; the mean attention to the needle in rows
  // that emitted one of its tokens.
  double score(size_t head) const;
  double mass(size_t head) const;

 private:
  bool holds(TokenId token) const;

  const Needle& needle_;
  std::vector<std::vector<bool>> copied_;  // by head, by token of the needle
  std::vector<double> mass_;
  uint32_t rows_ = 0;
};

struct RetrievalHeadsOptions {
  uint32_t answer_tokens = 16;  // generated at most
  std::map<std::string, double> settings;
};

// A piece per needle. Profile: tables "retrieval" and "mass" [layers][query heads]; setting "found", the needles that
// the model found: the others do not count.
std::unique_ptr<Calibration> retrieval_heads(Subject& subject, std::vector<Needle> needles,
                                             RetrievalHeadsOptions options);

}  // namespace loci

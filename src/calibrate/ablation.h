// What it costs that KV heads see only sinks and a window, in the rows of a question and its answer: the context was
// read by all heads in full, as in a model whose prompt is one chunk.
//
// A loss is the mean divergence KL(all full || some stream) of the next-token distributions at the answer's tokens,
// nats, and, where text counts too, the mean at the context's last tokens besides: answers tell heads that look facts
// up, text tells those that read at middle distances. The context is read once; each loss costs a pass over the rows of
// text, question and answer.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/needle.h"

namespace loci {

// KV heads of all layers, layer by layer: true for those that stream.
using HeadChoice = std::vector<bool>;

// Heads that a choice may name: those of layers without a window of the model's own.
HeadChoice open_heads(const ModelShape& model);

class Ablation {
 public:
  struct Options {
    uint32_t answer_tokens = 16;  // at most
    uint32_t text_rows = 0;       // of the context, before the question
  };
  // Reads the needle's prompt and lets the model answer.
  static Result<std::unique_ptr<Ablation>> make(Subject& subject, const Needle& needle, const Options& options,
                                                const Cancelled& cancelled);

  // Whether the model's answer holds the needle: if not, losses say nothing about retrieval.
  bool found() const { return found_; }
  Result<double> loss(const HeadChoice& streams, const Pattern& pattern, const Cancelled& cancelled);

  // What one head of the open ones costs at both ends of an order: when it alone streams, and what it takes back of the
  // loss `all` of all of them when it alone does not. Where heads can replace each other the first is small.
  struct HeadLoss {
    double alone = 0;
    double last = 0;
  };
  Result<HeadLoss> loss_of(size_t head, const HeadChoice& open, double all, const Pattern& pattern,
                           const Cancelled& cancelled);

 private:
  Ablation(Subject& subject, Sequence context) : subject_(subject), context_(std::move(context)) {}

  Status judged_rows(const Cancelled& cancelled, const Subject::OnRow& on_row);

  Subject& subject_;
  Sequence context_;  // read up to the rows that are judged
  uint32_t question_ = 0;
  uint32_t answer_begins_ = 0;
  bool found_ = false;
  std::vector<std::vector<float>> text_;  // log-probabilities at the text's tokens
  std::vector<std::vector<float>> full_;  // at the answer's
};

}  // namespace loci

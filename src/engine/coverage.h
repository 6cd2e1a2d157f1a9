// How much of what a head attends to lies in what a plan reads, and what the rest would have changed: beside every read
// the tables are read once more, as a whole.
#pragma once

#include <vector>

#include "attention/stages/tap.h"
#include "loci/loci.h"

namespace loci {

class CoverageTap final : public Tap {
 public:
  explicit CoverageTap(const ModelShape& model)
      : model_(model), prompt_(size_t{model.layers} * model.kv_heads), decode_(prompt_.size()) {}

  void after_read(const View& view, Rows o, std::span<float> lse, TapReader& reader) override;

  // Head `kv_head` of `layer` is number layer * kv_heads + kv_head.
  HeadCoverage of(Phase phase, size_t head) const;

 private:
  struct Sums {
    double mass = 0, error = 0;
    uint64_t queries = 0;
  };

  const ModelShape& model_;
  std::vector<Sums> prompt_, decode_;
  std::vector<float> whole_, whole_lse_;
};

}  // namespace loci

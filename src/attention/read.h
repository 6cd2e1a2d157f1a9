// A read: what some query rows attend to. Methods name reads; the executor performs them.
#pragma once

#include <cstdint>

#include "cache/ids.h"
#include "cache/table.h"
#include "kernels/cpu/attention/attention_kernels.h"

namespace loci {

// A closed set of slots, evaluated from lengths: every position up to the query's own, or the last `window` of them.
struct Pattern {
  uint32_t window = 0;  // positions, the query's own included; 0: all
};

// Consecutive rows of one sequence over one of its tables, for all heads of the table's class.
struct Read {
  const Table* table = nullptr;
  uint32_t first_row = 0;  // in the batch
  uint32_t rows = 0;
  TokenPos first_position{0};  // of the first row; the others follow
  Pattern slots;
  PartId part{0};
  ReadPhase phase = ReadPhase::kPrompt;
};

}  // namespace loci

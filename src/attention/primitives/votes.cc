#include "attention/primitives/votes.h"

#include <algorithm>
#include <limits>

#include "base/assert.h"
#include "kernels/cpu/select/select_kernels.h"

namespace loci {
namespace {

constexpr uint32_t kRun = 512;  // elements that a worker takes at a time

}  // namespace

uint64_t votes_scratch_bytes(uint32_t rows) { return Workspace::bytes_of<float>(rows); }

void add_votes(OpContext& context, std::span<const VoteJob> jobs, Pooling pooling) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  LOCI_ASSERT(pooling != Pooling::kMean, "votes are added up or compared");
  const Workspace::Mark mark(context.scratch);
  uint32_t rows = 0, widest = 0;
  for (const VoteJob& job : jobs) {
    LOCI_ASSERT(job.lse.size() == job.x.rows && job.votes.size() == job.x.width, "rows have sums, elements have votes");
    LOCI_ASSERT(job.x.rows == jobs[0].x.rows, "jobs have rows in like numbers");
    rows += job.x.rows;
    widest = std::max(widest, job.x.width);
  }
  if (rows == 0) return;
  const std::span<float> offsets = context.scratch.take<float>(rows);
  float* to = offsets.data();
  for (const VoteJob& job : jobs) {
    // exp(-inf - -inf) would be no number.
    for (const float lse : job.lse) *to++ = lse == -kInfinity ? kInfinity : lse;
  }
  const SelectKernels& kernels = select_kernels(context.isa);
  const auto join = pooling == Pooling::kMax ? kernels.maximum_exps : kernels.add_exps;
  const size_t runs = (widest + kRun - 1) / kRun;
  context.pool.parallel_for(runs * jobs.size(), [&](size_t index, int) {
    const VoteJob& job = jobs[index / runs];
    const auto first = static_cast<uint32_t>(index % runs) * kRun;
    if (first >= job.x.width) return;
    join(job.x.data + first, job.x.rows, job.x.stride, offsets.data() + index / runs * job.x.rows,
         std::min(kRun, job.x.width - first), job.votes.data() + first);
  });
}

}  // namespace loci

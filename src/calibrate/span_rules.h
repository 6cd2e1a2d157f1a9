// The choice of a span for each head under a bound of density: MoA's optimisation (arXiv:2406.14909, section 4.2) by a
// Lagrange multiplier instead of a mixed-integer program.
//
// A rule gives a head the span alpha + beta * N at length N. For a multiplier the cheapest rules are found layer by
// layer, at most two different ones in a layer, by trying all pairs; the multiplier is halved until the bound is met,
// and what is left of the bound goes where it saves most. Plain functions of their arguments.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace loci {

inline constexpr uint32_t kSpanSteps = 8;  // spans are measured at eighths of a length; all of it costs nothing

struct SpanRule {
  double alpha = 0;  // tokens
  double beta = 0;   // of the length
  double span(double length) const { return alpha + beta * length; }
  bool operator==(const SpanRule&) const = default;
};

// Rules whose spans at `shorter` and 2 * `shorter` are eighths of those lengths, in (0, N].
std::vector<SpanRule> candidate_rules(uint32_t shorter);

struct SpanProblem {
  uint32_t layers = 0;
  uint32_t heads = 0;           // of a layer
  std::vector<double> lengths;  // profiled
  double bound = 0.5;           // mean span of all heads at each length, as a share of it
  std::vector<SpanRule> rules;
  std::vector<double> losses;  // [lengths][layers * heads][rules]
};

// The rule of each head, layer by layer: an index of `rules`. Losses of the lengths add up. The bound is met as long as
// the densest-allowed choice can: the thinnest rule everywhere is the last resort.
std::vector<uint32_t> choose_rules(const SpanProblem& problem);

}  // namespace loci

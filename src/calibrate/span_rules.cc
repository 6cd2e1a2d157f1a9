#include "calibrate/span_rules.h"

#include <algorithm>
#include <limits>

namespace loci {
namespace {

// What the heads' choices cost under a multiplier: [layers * heads][rules].
std::vector<double> priced(const SpanProblem& problem, double multiplier) {
  const size_t heads = size_t{problem.layers} * problem.heads, rules = problem.rules.size();
  std::vector<double> out(heads * rules);
  for (size_t n = 0; n < problem.lengths.size(); ++n) {
    for (size_t i = 0; i < out.size(); ++i) {
      const double density = problem.rules[i % rules].span(problem.lengths[n]) / problem.lengths[n];
      out[i] += problem.losses[n * out.size() + i] + multiplier * density;
    }
  }
  return out;
}

// The better of two rules for each head of a layer; the sum of what they cost.
double choose_of(std::span<const double> cost, size_t heads, size_t rules, uint32_t a, uint32_t b,
                 std::vector<uint32_t>& out) {
  double sum = 0;
  for (size_t h = 0; h < heads; ++h) {
    out[h] = cost[h * rules + b] < cost[h * rules + a] ? b : a;
    sum += cost[h * rules + out[h]];
  }
  return sum;
}

std::vector<uint32_t> cheapest(const SpanProblem& problem, double multiplier) {
  const std::vector<double> cost = priced(problem, multiplier);
  const size_t rules = problem.rules.size();
  std::vector<uint32_t> out, tried(problem.heads);
  for (uint32_t l = 0; l < problem.layers; ++l) {
    const auto of_layer = std::span(cost).subspan(size_t{l} * problem.heads * rules, problem.heads * rules);
    double least = std::numeric_limits<double>::infinity();
    std::vector<uint32_t> best;
    for (uint32_t a = 0; a < rules; ++a) {
      for (uint32_t b = a; b < rules; ++b) {
        const double sum = choose_of(of_layer, problem.heads, rules, a, b, tried);
        if (sum >= least) continue;
        least = sum;
        best = tried;
      }
    }
    out.insert(out.end(), best.begin(), best.end());
  }
  return out;
}

bool within_bound(const SpanProblem& problem, std::span<const uint32_t> chosen) {
  return std::all_of(problem.lengths.begin(), problem.lengths.end(), [&](double length) {
    double sum = 0;
    for (const uint32_t rule : chosen) sum += problem.rules[rule].span(length) / length;
    return sum <= problem.bound * static_cast<double>(chosen.size()) * (1 + 1e-9);
  });
}

double loss_of(const SpanProblem& problem, size_t head, uint32_t rule) {
  const size_t heads = size_t{problem.layers} * problem.heads, rules = problem.rules.size();
  double sum = 0;
  for (size_t n = 0; n < problem.lengths.size(); ++n) sum += problem.losses[(n * heads + head) * rules + rule];
  return sum;
}

double density_of(const SpanProblem& problem, uint32_t rule) {
  double sum = 0;
  for (const double length : problem.lengths) sum += problem.rules[rule].span(length) / length;
  return sum;
}

// Spends what a multiplier, which moves many heads at once, leaves of the bound: one of a layer's rules after the other
// is exchanged for a wider one, where a span more saves most.
void fill_bound(const SpanProblem& problem, std::vector<uint32_t>& chosen) {
  const auto rules = static_cast<uint32_t>(problem.rules.size());
  while (true) {
    double most = 0;
    std::vector<uint32_t> best;
    for (uint32_t l = 0; l < problem.layers; ++l) {
      const size_t first = size_t{l} * problem.heads;
      for (uint32_t h = 0; h < problem.heads; ++h) {
        const uint32_t from = chosen[first + h];
        for (uint32_t to = 0; to < rules; ++to) {
          double saved = 0, more = 0;
          std::vector<uint32_t> tried = chosen;
          for (size_t i = first; i < first + problem.heads; ++i) {
            if (chosen[i] != from) continue;
            tried[i] = to;
            saved += loss_of(problem, i, from) - loss_of(problem, i, to);
            more += density_of(problem, to) - density_of(problem, from);
          }
          if (saved <= 0 || more <= 0 || saved <= most * more || !within_bound(problem, tried)) continue;
          most = saved / more;
          best = std::move(tried);
        }
      }
    }
    if (best.empty()) return;
    chosen = std::move(best);
  }
}

}  // namespace

std::vector<SpanRule> candidate_rules(uint32_t shorter) {
  std::vector<SpanRule> out;
  for (int a = -2; a <= 4; ++a) {  // quarters of the shorter length: eighths of the longer one
    for (int b = 0; b <= static_cast<int>(kSpanSteps); ++b) {
      const SpanRule rule{static_cast<double>(a) * shorter / 4.0, static_cast<double>(b) / kSpanSteps};
      const auto fits = [&](double length) { return rule.span(length) > 0 && rule.span(length) <= length; };
      if (fits(shorter) && fits(2.0 * shorter)) out.push_back(rule);
    }
  }
  // Thin ones first: they are taken where nothing else tells two apart.
  std::stable_sort(out.begin(), out.end(), [&](const SpanRule& x, const SpanRule& y) {
    return x.span(2.0 * shorter) + 2 * x.span(shorter) < y.span(2.0 * shorter) + 2 * y.span(shorter);
  });
  return out;
}

std::vector<uint32_t> choose_rules(const SpanProblem& problem) {
  // With a multiplier above what any head can lose the thinnest rules win.
  double high = 1e-12;
  for (const double loss : problem.losses) high = std::max(high, loss);
  high *= 2.0 * kSpanSteps * static_cast<double>(problem.lengths.size()) * problem.heads;
  double low = 0;
  std::vector<uint32_t> best = cheapest(problem, high);
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    std::vector<uint32_t> chosen = cheapest(problem, middle);
    if (within_bound(problem, chosen)) {
      best = std::move(chosen);
      high = middle;
    } else {
      low = middle;
    }
  }
  fill_bound(problem, best);
  return best;
}

}  // namespace loci

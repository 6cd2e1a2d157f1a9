#include "cli/sampling_options.h"

namespace loci {

void add_sampling_options(const Command& command, SamplingOptions& options) {
  constexpr const char* kGroup = "Sampling";
  Sampling& s = options.sampling;
  command.add_option("-n,--max-tokens", options.max_new_tokens, "Tokens to generate at most")
      .shows_default()
      .range(1u, 1u << 24)
      .type("N")
      .group(kGroup);
  command.add_option("--temp", s.temperature, "Temperature; 0: always the likeliest token")
      .shows_default()
      .range(0.0, 100.0)
      .type("T")
      .group(kGroup);
  command.add_option("--top-k", s.top_k, "Choose among the K likeliest tokens; 0: all")
      .shows_default()
      .type("K")
      .group(kGroup);
  command.add_option("--top-p", s.top_p, "Choose among the likeliest tokens that together have probability P")
      .shows_default()
      .range(0.0, 1.0)
      .type("P")
      .group(kGroup);
  command.add_option("--min-p", s.min_p, "Drop tokens less likely than P times the likeliest")
      .shows_default()
      .range(0.0, 1.0)
      .type("P")
      .group(kGroup);
  command.add_option("--repeat-penalty", s.repetition_penalty, "Divide the score of recent tokens by R; 1: off")
      .shows_default()
      .range(0.01, 100.0)
      .type("R")
      .group(kGroup);
  command.add_option("--repeat-window", s.repetition_window, "Recent tokens that the penalty looks at")
      .shows_default()
      .type("N")
      .group(kGroup);
  command.add_option("--seed", s.seed, "Seed of the sampler: the same seed gives the same text")
      .shows_default()
      .type("S")
      .group(kGroup);
  command.add_option("--stop", options.stop, "End before this text appears; may be given more than once")
      .one_word_each()
      .type("TEXT")
      .group(kGroup);
}

}  // namespace loci

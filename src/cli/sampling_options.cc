#include "cli/sampling_options.h"

namespace loci {

void add_sampling_options(CLI::App& command, SamplingOptions& options) {
  constexpr const char* kGroup = "Sampling";
  Sampling& s = options.sampling;
  command.add_option("-n,--max-tokens", options.max_new_tokens, "Tokens to generate at most")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 24))
      ->type_name("N")
      ->group(kGroup);
  command.add_option("--temp", s.temperature, "Temperature; 0: always the likeliest token")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0))
      ->type_name("T")
      ->group(kGroup);
  command.add_option("--top-k", s.top_k, "Choose among the K likeliest tokens; 0: all")
      ->capture_default_str()
      ->type_name("K")
      ->group(kGroup);
  command.add_option("--top-p", s.top_p, "Choose among the likeliest tokens that together have probability P")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("P")
      ->group(kGroup);
  command.add_option("--min-p", s.min_p, "Drop tokens less likely than P times the likeliest")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("P")
      ->group(kGroup);
  command.add_option("--repeat-penalty", s.repetition_penalty, "Divide the score of recent tokens by R; 1: off")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 100.0))
      ->type_name("R")
      ->group(kGroup);
  command.add_option("--repeat-window", s.repetition_window, "Recent tokens that the penalty looks at")
      ->capture_default_str()
      ->type_name("N")
      ->group(kGroup);
  command.add_option("--seed", s.seed, "Seed of the sampler: the same seed gives the same text")
      ->capture_default_str()
      ->type_name("S")
      ->group(kGroup);
  command.add_option("--stop", options.stop, "End before this text appears; may be given more than once")
      ->allow_extra_args(false)
      ->type_name("TEXT")
      ->group(kGroup);
}

}  // namespace loci

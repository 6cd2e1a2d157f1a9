// Facts that even small models may know by heart: countries and their capitals. What contradicts them is another
// capital.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "eval/python_random.h"

namespace loci {

struct Capital {
  std::string_view country, city;
};

inline constexpr std::array<Capital, 48> kCapitals{{{"France", "Paris"},
                                                    {"Germany", "Berlin"},
                                                    {"Italy", "Rome"},
                                                    {"Spain", "Madrid"},
                                                    {"Portugal", "Lisbon"},
                                                    {"England", "London"},
                                                    {"Ireland", "Dublin"},
                                                    {"Sweden", "Stockholm"},
                                                    {"Norway", "Oslo"},
                                                    {"Denmark", "Copenhagen"},
                                                    {"Finland", "Helsinki"},
                                                    {"Poland", "Warsaw"},
                                                    {"Austria", "Vienna"},
                                                    {"Hungary", "Budapest"},
                                                    {"Greece", "Athens"},
                                                    {"Russia", "Moscow"},
                                                    {"Japan", "Tokyo"},
                                                    {"China", "Beijing"},
                                                    {"South Korea", "Seoul"},
                                                    {"Thailand", "Bangkok"},
                                                    {"Egypt", "Cairo"},
                                                    {"Iran", "Tehran"},
                                                    {"Iraq", "Baghdad"},
                                                    {"Cuba", "Havana"},
                                                    {"Peru", "Lima"},
                                                    {"Argentina", "Buenos Aires"},
                                                    {"Kenya", "Nairobi"},
                                                    {"Vietnam", "Hanoi"},
                                                    {"Turkey", "Ankara"},
                                                    {"Ukraine", "Kyiv"},
                                                    {"Romania", "Bucharest"},
                                                    {"Bulgaria", "Sofia"},
                                                    {"Serbia", "Belgrade"},
                                                    {"Belgium", "Brussels"},
                                                    {"Canada", "Ottawa"},
                                                    {"Australia", "Canberra"},
                                                    {"Indonesia", "Jakarta"},
                                                    {"Philippines", "Manila"},
                                                    {"Malaysia", "Kuala Lumpur"},
                                                    {"Syria", "Damascus"},
                                                    {"Lebanon", "Beirut"},
                                                    {"Jordan", "Amman"},
                                                    {"Chile", "Santiago"},
                                                    {"Colombia", "Bogota"},
                                                    {"Venezuela", "Caracas"},
                                                    {"Uruguay", "Montevideo"},
                                                    {"Nepal", "Kathmandu"},
                                                    {"Iceland", "Reykjavik"}}};

struct Conflict {
  Capital fact;
  std::string_view other;  // the city that is told instead
};

// The fact of a prompt and what contradicts it: by the run's seed and the prompt's index alone, so that the prompts of
// one index are about one fact in all tasks. All facts come before one comes again.
inline Conflict draw_conflict(uint64_t seed, uint32_t index) {
  PythonRandom order(seed);
  const auto count = static_cast<uint32_t>(kCapitals.size());
  const size_t own = order.sample(count, count)[index % count];
  PythonRandom random(seed ^ (uint64_t{index} + 1) * 0x9e3779b97f4a7c15ULL);
  const size_t other = (own + 1 + static_cast<size_t>(random.below(count - 1))) % count;
  return {kCapitals[own], kCapitals[other].city};
}

}  // namespace loci

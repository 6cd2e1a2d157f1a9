// Facts that even small models may know by heart.
#pragma once

#include <vector>

#include "calibrate/ph3.h"

namespace loci {

inline std::vector<Fact> capitals() {
  return {{"France", "Paris"},    {"Germany", "Berlin"},     {"Italy", "Rome"},        {"Spain", "Madrid"},
          {"Portugal", "Lisbon"}, {"England", "London"},     {"Ireland", "Dublin"},    {"Sweden", "Stockholm"},
          {"Norway", "Oslo"},     {"Denmark", "Copenhagen"}, {"Finland", "Helsinki"},  {"Poland", "Warsaw"},
          {"Austria", "Vienna"},  {"Hungary", "Budapest"},   {"Greece", "Athens"},     {"Russia", "Moscow"},
          {"Japan", "Tokyo"},     {"China", "Beijing"},      {"South Korea", "Seoul"}, {"Thailand", "Bangkok"},
          {"Egypt", "Cairo"},     {"Iran", "Tehran"},        {"Iraq", "Baghdad"},      {"Cuba", "Havana"},
          {"Peru", "Lima"},       {"Argentina", "Buenos"},   {"Kenya", "Nairobi"},     {"Vietnam", "Hanoi"}};
}

}  // namespace loci

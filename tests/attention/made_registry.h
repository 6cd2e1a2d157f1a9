// Methods of every stage for tests of the grammar: they have registry lines and no code.
#pragma once

#include "attention/registry/registry.h"

namespace loci::test {

struct MadeRegistry {
  struct StreamingOptions {
    uint32_t sinks = 4;
    uint32_t window = 1024;
  };
  enum class Pool : uint8_t { kMean, kMax };
  struct SnapOptions {
    uint32_t budget = 1024;
    uint32_t window = 32;
    uint32_t kernel = 7;
    Pool pool = Pool::kMax;
    bool sinks = false;
  };
  struct DuoOptions {
    double ratio = 0.5;
    std::string profile = "auto";
  };
  struct FlexOptions {
    double gamma = 0.95;
    uint32_t block = 128;
    uint32_t step = 16;
  };
  struct TokensOptions {
    uint32_t k = 2048;
  };
  struct CalibrateOptions {
    double beta = 0.4;
  };

  MadeRegistry();

  Method streaming, snap, duo, flex, recycle, tokens, calibrate, gates;
  Registry registry;
};

}  // namespace loci::test

// The registry lines of the methods that answer `mix`.
#pragma once

#include <memory>

#include "attention/registry/method.h"
#include "attention/stages/stage.h"

namespace loci {

extern const Method kAct;
extern const Method kPh3;

// Leaves what was read as it is.
class NoMix final : public Mix {
 public:
  void after_read(const View&, std::span<const QueryHead>, Rows, std::span<const float>) const override {}
};

}  // namespace loci

// What an Engine owns.
#pragma once

#include "engine/loaded_model.h"
#include "engine/sequence.h"
#include "loci/loci.h"

namespace loci {

struct Engine::State : LoadedModel {};

struct Session::State {
  Engine::State* engine;
  Sequence sequence;
};

}  // namespace loci

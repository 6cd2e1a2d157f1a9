// What methods know of a model, and what they may draw on when they are made for it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cache/ids.h"
#include "io/model_file.h"
#include "loci/types.h"

namespace loci {

struct Profile;  // io/profile.h

// How queries and keys of the layers that read everything are turned: pair i by position * inverse_frequencies[i].
struct Rotary {
  RopePairing pairing = RopePairing::kHalves;
  std::vector<double> inverse_frequencies;
};

struct ModelShape {
  uint32_t layers = 0;
  uint32_t query_heads = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  float score_scale = 0;          // of q . k
  std::vector<uint32_t> windows;  // by layer: positions that a query reads; 0: all before it
  std::string fingerprint;        // names the model in profiles; empty where no weights were read
  Rotary rotary = {};

  uint32_t group() const { return query_heads / kv_heads; }
  uint32_t q_width() const { return query_heads * head_dim; }
  // Methods that keep or select act on layers that read everything: a window of the model's own is left alone.
  bool open(LayerId layer) const { return windows[layer.value] == 0; }
};

struct MethodContext {
  const ModelShape& model;
  uint32_t context = 0;  // tokens that a sequence may hold
  // The profile of kind `kind`: the file `name`, or the one that is shipped for the model if `name` is "auto".
  std::function<Result<Profile>(std::string_view kind, const std::string& name)> profile;
};

// What a request declares, and where its sequence stands.
struct RequestFacts {
  uint32_t prompt_tokens = 0;  // up to the end of the prompt that is being read, or was read last
  uint32_t total_tokens = 0;   // that the sequence may come to
  uint64_t seed = 0;
  std::string task;
  std::vector<LabelledSpan> spans;
};

}  // namespace loci

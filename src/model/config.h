// What a model file says about its architecture, checked and in one vocabulary. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "io/model_file.h"

namespace loci {

// Angles of rotary embedding: pair i turns by position * inverse_frequencies[i]; q and k are multiplied by `magnitude`.
struct RopeFrequencies {
  std::vector<double> inverse_frequencies;
  double magnitude = 1.0;
};

// The metadata key of a plan with a store clause, such as "store=kv4": how the model's cache is stored unless a plan
// says otherwise. Models that were quantized for a store have one.
inline constexpr const char* kDefaultStore = "loci.quantize.store";

// The version of quantized files: 1 keeps inputs as they are, 2 may turn them.
inline constexpr const char* kQuantizedVersion = "loci.quantize.version";
inline constexpr uint32_t kNewestQuantized = 2;

// Metadata flags: the inputs of q, k and v and of gate and up, or those of down, are turned before they are multiplied
// (ops/turn.h). Weights of such models have been, too.
inline constexpr const char* kTurnsInputs = "loci.turn.inputs";
inline constexpr const char* kTurnsGated = "loci.turn.gated";

struct ModelConfig {
  std::string architecture;
  std::string name;
  uint32_t layers = 0;
  uint32_t hidden = 0;
  uint32_t ffn = 0;  // width of the feed-forward layer
  uint32_t query_heads = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t vocabulary = 0;
  uint32_t trained_context = 0;
  float norm_eps = 0;
  RopePairing rope_pairing = RopePairing::kHalves;
  std::vector<RopeFrequencies> rope;  // 0: of all layers, or of those without a window; 1: of those with a window
  float score_scale = 0;              // of q.k, 1 / sqrt(head_dim) unless the architecture says otherwise
  float embedding_scale = 1;
  uint32_t window = 0;          // of windowed layers; 0: there are none
  uint32_t window_pattern = 0;  // every window_pattern-th layer has no window; 0: all windowed layers have one
  bool norms_add_one = false;   // stored norm weights lack the 1 of (1 + w)
  bool turns_inputs = false;    // kTurnsInputs
  bool turns_gated = false;     // kTurnsGated
  std::string default_store;    // of plans without a store clause; empty: kv16

  uint32_t q_width() const { return query_heads * head_dim; }
  uint32_t kv_width() const { return kv_heads * head_dim; }
  // Positions a query of this layer reads, its own included; 0: all.
  uint32_t layer_window(uint32_t layer) const {
    if (window == 0) return 0;
    return window_pattern > 0 && layer % window_pattern == window_pattern - 1 ? 0 : window;
  }
};

// The fields all families share, from metadata and the embedding's shape. kCorrupt or kNotFound names the key.
Result<ModelConfig> read_config(const ModelFile& file);

// Rotary frequencies of base `base` over `dims` dimensions with the scaling that the file names (none, linear, llama3,
// yarn, or per-pair factors in the tensor rope_freqs.weight).
Result<RopeFrequencies> read_rope(const ModelFile& file, const std::string& architecture, double base, uint32_t dims,
                                  uint32_t trained_context);
RopeFrequencies plain_rope(double base, uint32_t dims);

}  // namespace loci

// What `loci quantize` is asked for: the number formats, and which steps of QServe's pipeline are taken.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "kernels/cpu/kv_codec/page_layout.h"
#include "tensor/dtype.h"

namespace loci {

// "w4a8kv4": weights of 4 bits, activations of 8, a cache of 4.
struct QuantScheme {
  uint32_t weight_bits = 4;
  uint32_t activation_bits = 8;
  KvCodec store = KvCodec::kKv4;
  uint32_t group = 128;  // columns that share a step, at most; 0: all of a row

  std::string name() const;
  // The format of a matrix with rows of so many columns; none if they are no whole blocks of 32.
  std::optional<DType> weight_format(uint64_t columns) const;
};

// `scheme` is one of w4a8, w8a8, w4a16, w16a16, then kv4, kv8 or kv16; `group` is "channel" or a number of columns.
Result<QuantScheme> parse_scheme(std::string_view scheme, std::string_view group);

struct QuantSteps {
  bool rotate = false;            // B1: Hadamard rotation of the residual stream
  bool rotate_values = false;     // the same of values within a head
  bool center_keys = false;       // the mean of keys is taken off before they are stored
  bool smooth_attention = false;  // B2: key outliers move into queries
  bool compensate_keys = false;   // 4-bit keys are rounded for the scores that they give
  bool smooth_inputs = false;     // between norms and what reads them; not beside rotate
  bool turn_inputs = false;       // inputs of q, k, v, gate and up are turned behind their norms; not beside rotate
  bool smooth_outputs = false;    // B3: between v and the output projection, up and down
  bool turn_gated = false;        // the input of down is turned
  bool reorder = false;           // B4: columns that matter alike share a group
  bool clip = false;              // B5: ranges that make outputs right instead of weights
  bool compensate = false;        // B5: GPTQ
  bool sequential = false;        // weights make up for what the layers before are off by

  bool need_statistics() const {
    return center_keys || smooth_attention || compensate_keys || smooth_inputs || smooth_outputs || reorder || clip ||
           compensate || sequential;
  }
  std::string names() const;  // "rotate,smooth-attention", "none"
};

// "all": those that suit the scheme (for weights of 16 bits none but those of keys), without rotate,
// whose part turn-inputs takes, and reorder, which does not pay; "none"; or names apart by commas.
Result<QuantSteps> parse_steps(std::string_view text, const QuantScheme& scheme);

}  // namespace loci

// Query heads of a model by name: "4.0+5.3" is head 0 of layer 4 and head 3 of layer 5; "none" and "all" are words.
// Plain data.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "attention/stages/model_shape.h"

namespace loci {

class HeadSet {
 public:
  explicit HeadSet(const ModelShape& model)
      : heads_(model.query_heads), chosen_(size_t{model.layers} * model.query_heads) {}

  // kInvalidArgument names the part that is no head of the model.
  static Result<HeadSet> parse(std::string_view text, const ModelShape& model);

  void add(LayerId layer, QueryHead head) { chosen_[index(layer, head)] = true; }
  bool has(LayerId layer, QueryHead head) const { return chosen_[index(layer, head)]; }
  bool empty() const;

 private:
  size_t index(LayerId layer, QueryHead head) const { return size_t{layer.value} * heads_ + head.value; }

  uint32_t heads_;
  std::vector<bool> chosen_;
};

}  // namespace loci

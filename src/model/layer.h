// One layer of a model. The engine owns the loop over layers, so that it can stop, tap or drop rows between them.
#pragma once

#include "model/batch.h"
#include "tensor/rows.h"

namespace loci {

class Layer {
 public:
  virtual ~Layer() = default;
  // x [rows, hidden], the residual stream, is changed in place.
  virtual void forward(Batch& batch, Rows x) const = 0;
};

}  // namespace loci

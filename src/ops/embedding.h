// Rows of a table by token id.
#pragma once

#include <span>

#include "io/model_file.h"
#include "loci/types.h"
#include "ops/context.h"
#include "ops/linear.h"
#include "tensor/rows.h"

namespace loci {

// out[i] = row ids[i] of the table. Ids are checked by the caller: 0 <= id < rows.
void embed(OpContext& context, const PackedMatrix& table, std::span<const TokenId> ids, Rows out);
// The same from a mapped tensor, which stays in its stored type.
void embed(OpContext& context, const Tensor& table, std::span<const TokenId> ids, Rows out);

}  // namespace loci

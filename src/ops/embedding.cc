#include "ops/embedding.h"

#include "ops/row_loop.h"
#include "tensor/dtype.h"

namespace loci {
namespace {

constexpr size_t kCostOfDecoding = 4;  // times that of moving a number

}  // namespace

void embed(OpContext& context, const PackedMatrix& table, std::span<const TokenId> ids, Rows out) {
  LOCI_ASSERT(out.rows == ids.size() && out.width == table.columns(), "a row of the table per token");
  for_each_row(context, out.rows, out.width * kCostOfDecoding,
               [&](size_t row) { table.unpack_row(static_cast<uint32_t>(ids[row]), out.span(row)); });
}

void embed(OpContext& context, const Tensor& table, std::span<const TokenId> ids, Rows out) {
  LOCI_ASSERT(out.rows == ids.size() && out.width == table.columns(), "a row of the table per token");
  const size_t stride = table.data.size() / table.rows();
  for_each_row(context, out.rows, out.width * kCostOfDecoding, [&](size_t row) {
    const auto id = static_cast<size_t>(ids[row]);
    LOCI_ASSERT(id < table.rows(), "a token of the vocabulary");
    dequantize_row(table.dtype, table.data.data() + id * stride, out.span(row));
  });
}

}  // namespace loci

#include "ops/turn.h"

#include <cmath>

#include "ops/row_loop.h"

namespace loci {

std::vector<double> hartley_matrix(size_t m) {
  std::vector<double> out(m * m);
  for (size_t j = 0; j < m; ++j) {
    for (size_t k = 0; k < m; ++k) {
      const double angle = 2.0 * M_PI * static_cast<double>(j * k % m) / static_cast<double>(m);
      out[j * m + k] = (std::cos(angle) + std::sin(angle)) / std::sqrt(static_cast<double>(m));
    }
  }
  return out;
}

size_t odd_factor(size_t size) {
  LOCI_ASSERT(size > 0, "zero has no odd factor");
  while (size % 2 == 0) size /= 2;
  return size;
}

Result<InputTurn> InputTurn::of_width(uint32_t width) {
  if (!fits(width)) {
    return fail(ErrorCode::kUnsupported, "inputs of {} columns cannot be turned: their odd factor is {}, at most {}",
                width, odd_factor(width), kMostTurnBlocks);
  }
  return InputTurn(width);
}

InputTurn::InputTurn(uint32_t width) : odd_(static_cast<uint32_t>(odd_factor(width))) {
  powers_ = width / odd_;
  for (const double entry : hartley_matrix(odd_)) {
    small_.push_back(static_cast<float>(entry / std::sqrt(static_cast<double>(powers_))));
  }
}

void InputTurn::operator()(OpContext& context, Rows x) const {
  LOCI_ASSERT(x.width == powers_ * odd_, "rows of the width that is turned");
  const TurnRow turn = turn_row(context.isa);
  const TurnShape shape{powers_, odd_, small_.data()};
  constexpr size_t kCost = 4;  // times that of moving a number
  for_each_row(context, x.rows, x.width * kCost, [&](size_t row) { turn(shape, x.row(row)); });
}

}  // namespace loci

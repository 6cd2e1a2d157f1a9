// Prompt kernels of every instruction set, codec and width: against the scalar fp32 one, and every row against itself
// alone, with rows that see different slots of a block or none of it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/memory.h"
#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/kv_codec/kv_codec.h"
#include "kernels/random_tensor.h"

namespace loci {
namespace {

constexpr KvCodec kEveryCodec[] = {KvCodec::kKv16, KvCodec::kKv8, KvCodec::kKv4};
constexpr size_t kBlocks = 3;

struct Queries {
  size_t rows;
  size_t dim;  // padded
  std::vector<float> q;
  std::vector<VisibleSlots> visible[kBlocks];  // empty: every row sees all
};

struct States {
  std::vector<float> m, l, o;
};

class Pages {
 public:
  Pages(test::Rng& rng, KvCodec codec, uint32_t head_dim, float spread)
      : layout_(page_layout(codec, head_dim)), bytes_(*Buffer::allocate(kBlocks * round_up(layout_.bytes, 64))) {
    for (size_t p = 0; p < kBlocks; ++p) {
      for (uint32_t slot = 0; slot < kPageSlots; ++slot) {
        const std::vector<float> k = test::normals(rng, head_dim, spread), v = test::normals(rng, head_dim);
        encode_entry(layout_, at(p), slot, k.data(), v.data());
      }
    }
  }

  const PageLayout& layout() const { return layout_; }

  // Rows [first, first + count) of x, folded into empty states over all blocks.
  States fold(const ReadKernel& kernel, const Queries& x, size_t first, size_t count) const {
    const size_t dim = x.dim;
    Buffer queries = *Buffer::allocate(query_bytes(count, dim)), block = *Buffer::allocate(block_bytes(dim));
    Buffer scores = *Buffer::allocate(count * kPageSlots * sizeof(float));
    for (size_t r = 0; r < count; ++r) kernel.load_query(&x.q[(first + r) * dim], r, count, dim, queries.data());
    States s{std::vector<float>(count), std::vector<float>(count), std::vector<float>(count * dim)};
    const SoftmaxState state{s.m.data(), s.l.data(), s.o.data()};
    clear(state, count, dim);
    for (size_t p = 0; p < kBlocks; ++p) {
      if (kernel.load_block != nullptr) kernel.load_block(layout_, at(p), block.data());
      kernel.fold({.queries = queries.data(),
                   .rows = count,
                   .dim = dim,
                   .layout = &layout_,
                   .page = at(p),
                   .next_page = at(p),
                   .block = block.data(),
                   .visible = x.visible[p].empty() ? nullptr : x.visible[p].data() + first,
                   .scores = reinterpret_cast<float*>(scores.data()),
                   .state = state});
    }
    return s;
  }

 private:
  std::byte* at(size_t page) { return bytes_.data() + page * round_up(layout_.bytes, 64); }
  const std::byte* at(size_t page) const { return bytes_.data() + page * round_up(layout_.bytes, 64); }

  PageLayout layout_;
  Buffer bytes_;
};

Queries random_queries(test::Rng& rng, size_t rows, uint32_t head_dim, size_t dim) {
  Queries x{rows, dim, std::vector<float>(rows * dim), {}};
  for (size_t r = 0; r < rows; ++r) {
    const std::vector<float> q = test::normals(rng, head_dim, 1 / std::sqrt(static_cast<float>(head_dim)));
    std::memcpy(&x.q[r * dim], q.data(), head_dim * sizeof(float));
  }
  return x;
}

// Blind stretches of every length and place, beside rows that see a part.
void hide_some(test::Rng& rng, Queries& x) {
  for (size_t p = 1; p < kBlocks; ++p) {
    while (x.visible[p].size() < x.rows) {
      const size_t stretch = 1 + rng() % 40;
      const bool blind = rng() % 2 == 0;
      for (size_t i = 0; i < stretch && x.visible[p].size() < x.rows; ++i) {
        const int first = static_cast<int>(rng() % kPageSlots), last = first + 1 + static_cast<int>(rng() % 64);
        x.visible[p].push_back(blind ? VisibleSlots{first, first} : VisibleSlots{first, std::min(last, 64)});
      }
    }
  }
}

bool bits_equal(const float* a, const float* b, size_t count) { return std::memcmp(a, b, count * sizeof(float)) == 0; }

class PromptKernels : public testing::TestWithParam<uint32_t> {};  // head_dim

TEST_P(PromptKernels, AgreeWithTheScalarOneAndEachRowWithItselfAlone) {
  test::Rng rng(71 + GetParam());
  for (const KvCodec codec : kEveryCodec) {
    const Pages pages(rng, codec, GetParam(), 1);
    const size_t dim = pages.layout().padded_dim;
    Queries x = random_queries(rng, 165, GetParam(), dim);
    hide_some(rng, x);
    const States wanted =
        pages.fold(read_kernel(Isa::kScalar, codec, ReadPhase::kPrompt, ReadPrecision::kFp32), x, 0, x.rows);
    for (const Isa isa : supported_isas()) {
      SCOPED_TRACE(std::string(to_string(codec)) + " " + std::string(to_string(isa)));
      const ReadKernel& kernel = read_kernel(isa, codec, ReadPhase::kPrompt, ReadPrecision::kFast);
      const States got = pages.fold(kernel, x, 0, x.rows);
      for (size_t r = 0; r < x.rows; ++r) {
        ASSERT_NEAR(got.m[r], wanted.m[r], 0.03) << r;
        for (size_t d = 0; d < dim; ++d)
          ASSERT_NEAR(got.o[r * dim + d] / got.l[r], wanted.o[r * dim + d] / wanted.l[r], 0.04) << r << ", " << d;
      }
      for (size_t r = 0; r < x.rows; r += 3) {
        const States alone = pages.fold(kernel, x, r, 1);
        ASSERT_TRUE(bits_equal(&got.m[r], alone.m.data(), 1)) << r;
        ASSERT_TRUE(bits_equal(&got.l[r], alone.l.data(), 1)) << r;
        ASSERT_TRUE(bits_equal(&got.o[r * dim], alone.o.data(), dim)) << r;
      }
    }
  }
}

// Scores hundreds apart: weights that no float holds are 0, and a block of them leaves its rows' states as they were.
TEST_P(PromptKernels, WeightsTooSmallForAFloatAreZero) {
  test::Rng rng(72);
  for (const KvCodec codec : kEveryCodec) {
    const Pages pages(rng, codec, GetParam(), 300);
    const size_t dim = pages.layout().padded_dim;
    const Queries x = random_queries(rng, 33, GetParam(), dim);
    for (const Isa isa : supported_isas()) {
      const States got = pages.fold(read_kernel(isa, codec, ReadPhase::kPrompt, ReadPrecision::kFast), x, 0, x.rows);
      for (size_t r = 0; r < x.rows; ++r) {
        ASSERT_GE(got.l[r], 0.99F) << to_string(isa);
        ASSERT_LT(got.l[r], 4.0F) << to_string(isa);
        for (size_t d = 0; d < dim; ++d) {
          const float o = got.o[r * dim + d];
          ASSERT_TRUE(std::isfinite(o) && std::fpclassify(o) != FP_SUBNORMAL) << to_string(isa) << " " << o;
        }
      }
    }
  }
}

// A query that is no number says so in its own row alone, in fp32 and in 16-bit integers.
TEST_P(PromptKernels, WhatIsNoNumberStaysInItsRow) {
  test::Rng rng(73);
  for (const KvCodec codec : kEveryCodec) {
    const Pages pages(rng, codec, GetParam(), 1);
    const size_t dim = pages.layout().padded_dim;
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      Queries x = random_queries(rng, 8, GetParam(), dim);
      hide_some(rng, x);
      for (const Isa isa : {Isa::kScalar, Isa::kAvx2}) {
        if (isa > best_isa()) continue;
        const ReadKernel& kernel = read_kernel(isa, codec, ReadPhase::kPrompt, ReadPrecision::kFast);
        Queries y = x;
        y.q[5 * dim + 1] = bad;
        const States clean = pages.fold(kernel, x, 0, x.rows), got = pages.fold(kernel, y, 0, y.rows);
        for (size_t r = 0; r < x.rows; ++r) {
          if (r == 5) {
            EXPECT_TRUE(std::isnan(got.o[r * dim] / got.l[r])) << to_string(isa) << " " << bad;
          } else {
            EXPECT_TRUE(bits_equal(&got.o[r * dim], &clean.o[r * dim], dim)) << to_string(isa) << " " << r;
            EXPECT_TRUE(bits_equal(&got.l[r], &clean.l[r], 1)) << to_string(isa) << " " << r;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, PromptKernels, testing::Values(32, 64, 80, 128, 256));

}  // namespace
}  // namespace loci

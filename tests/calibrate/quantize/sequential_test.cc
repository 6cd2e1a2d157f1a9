// What follows a model layer by layer, against passes of the whole model.
#include "calibrate/quantize/sequential.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "calibrate/quantize/statistics.h"
#include "model/blocks.h"

namespace loci {
namespace {

const std::string kSequentialModel = LOCI_SOURCE_DIR "/models/needle-14m-q8_0.gguf";
constexpr uint32_t kLength = 100;

std::vector<std::vector<TokenId>> random_sequences(uint32_t count) {
  std::mt19937 random(9);
  std::vector<std::vector<TokenId>> out(count, std::vector<TokenId>(kLength));
  for (auto& sequence : out) {
    for (TokenId& id : sequence) id = static_cast<TokenId>(random() % 200);
  }
  return out;
}

std::unique_ptr<Subject> load_subject(const std::string& model = kSequentialModel) {
  EngineOptions options;
  options.threads = 2;
  options.context = options.chunk = kLength;
  options.activations = "f32";
  auto out = Subject::load(model, options);
  EXPECT_TRUE(out.ok()) << out.error().message;
  return std::move(*out);
}

// The layer as it is, times `by`: a stand-in for a quantized one.
std::vector<QuantizedTensor> tensors_of(LayerId id, const LayerWeights& weights, float by) {
  std::vector<QuantizedTensor> out;
  for (const Projection& p : kProjections) {
    Matrix m = weights.at(p.name);
    for (float& x : m.data) x *= by;
    QuantizedTensor& t = out.emplace_back(store_vector(layer_tensor(id, p.name), m.data));
    t.plan.shape = {m.rows, m.columns};
  }
  for (const auto& [name, v] : weights.vectors) out.push_back(store_vector(layer_tensor(id, name), v));
  return out;
}

FollowedSums all_of(FollowedInput followed) {
  followed.fit.add(followed.held);
  return std::move(followed.fit);
}

double largest_difference(const Matrix& a, const Matrix& b) {
  double most = 0, size = 0;
  for (size_t i = 0; i < a.data.size(); ++i) {
    most = std::max(most, std::fabs(double{a.data[i]} - b.data[i]));
    size = std::max(size, std::fabs(double{a.data[i]}));
  }
  return most / size;
}

// Behind layers that are what they were, inputs are those of the whole model's passes, and nothing has shifted.
TEST(SequentialInputs, FollowTheModelItself) {
  const auto subject = load_subject();
  const auto sequences = random_sequences(3);
  const auto file = open_model_file(kSequentialModel);
  const ModelConfig& config = subject->core().model().config();
  const auto right = measure_layers(*subject, sequences, 0, config.layers, {}, [](double) {});
  ASSERT_TRUE(right.ok());
  const auto inputs =
      SequentialInputs::make(*subject, subject->core().model().config(), sequences, nullptr, "store=kv16", 16);
  ASSERT_TRUE(inputs.ok()) << inputs.error().message;
  for (uint32_t i = 0; i < config.layers; ++i) {
    const LayerWeights weights = *read_layer(**file, config, LayerId(i));
    const std::vector<QuantizedTensor> stored = tensors_of(LayerId(i), weights, 1);
    ASSERT_TRUE((*inputs)->enter(LayerId(i), weights, {}).ok());
    for (size_t at = 0; at < kLayerInputs; ++at) {
      const auto input = static_cast<LayerInput>(at);
      const size_t before = std::ranges::count_if(kProjections, [&](const Projection& p) { return p.input < input; });
      Result<FollowedInput> both = (*inputs)->follow(input, std::span(stored).first(before), {});
      ASSERT_TRUE(both.ok()) << both.error().message;
      EXPECT_GT(both->held.gram.row(0)[0], 0) << "a sequence is held out";
      const FollowedSums followed = all_of(std::move(*both));
      const Matrix& gram = (*right)[i].gram(input);
      const bool writes = input == LayerInput::kMixed || input == LayerInput::kGated;
      EXPECT_EQ(followed.missing.empty(), !writes);
      // Where outputs are added to the stream, rows count by its size.
      if (!writes) {
        EXPECT_LT(largest_difference(gram, followed.gram), 1e-3) << "layer " << i << ", input " << at;
      }
      float shift = 0, size = 0;
      for (const Matrix* off : {&followed.shift, &followed.missing}) {
        for (const float x : off->data) shift = std::max(shift, std::fabs(x));
      }
      for (const float x : followed.gram.data) size = std::max(size, std::fabs(x));
      EXPECT_LT(shift, 1e-3F * size);
    }
    ASSERT_TRUE((*inputs)->leave(LayerFile(stored), {}).ok());
  }
}

// What comes out of a changed layer reaches the next one's inputs, and the shift says from where.
TEST(SequentialInputs, SeeWhatChangedLayersDo) {
  const auto subject = load_subject();
  const auto sequences = random_sequences(2);
  const auto file = open_model_file(kSequentialModel);
  const ModelConfig& config = subject->core().model().config();
  const auto inputs =
      SequentialInputs::make(*subject, subject->core().model().config(), sequences, nullptr, "store=kv4", 8);
  ASSERT_TRUE(inputs.ok());
  const LayerWeights first = *read_layer(**file, config, LayerId(0)), next = *read_layer(**file, config, LayerId(1));
  ASSERT_TRUE((*inputs)->enter(LayerId(0), first, {}).ok());
  ASSERT_TRUE((*inputs)->leave(LayerFile(tensors_of(LayerId(0), first, 0.9F)), {}).ok());
  ASSERT_TRUE((*inputs)->enter(LayerId(1), next, {}).ok());
  Result<FollowedInput> both = (*inputs)->follow(LayerInput::kAttention, {}, {});
  ASSERT_TRUE(both.ok());
  const FollowedSums followed = all_of(std::move(*both));
  const auto right = measure_layers(*subject, sequences, 1, 1, {}, [](double) {});
  const Matrix& gram = (*right)[0].gram(LayerInput::kAttention);
  EXPECT_GT(largest_difference(gram, followed.gram), 1e-3);
  // x = y + d, so that sum x^T y = gram(y) + shift; its trace lies below the root of the traces' product.
  double xy = 0, xx = 0, yy = 0;
  for (size_t k = 0; k < gram.rows; ++k) {
    xx += gram.row(k)[k];
    yy += followed.gram.row(k)[k];
    xy += double{followed.gram.row(k)[k]} + followed.shift.row(k)[k];
  }
  EXPECT_LT(xy, std::sqrt(xx * yy));
  EXPECT_GT(xy, 0.5 * std::sqrt(xx * yy));
}

// The first layer has other weights. If the second layer is told what the stream lacks, the third one's inputs are
// nearer to the model's; with norms behind the blocks too.
class SequentialModel : public testing::TestWithParam<const char*> {};

TEST_P(SequentialModel, WhatTheStreamLacksIsBroughtBack) {
  const std::string model = LOCI_SOURCE_DIR + std::string(GetParam());
  const auto subject = load_subject(model);
  const auto sequences = random_sequences(3);
  const auto file = open_model_file(model);
  const auto layer = [&](uint32_t i) { return *read_layer(**file, subject->core().model().config(), LayerId(i)); };
  const LayerWeights first = layer(0), second = layer(1), third = layer(2);
  const auto right = measure_layers(*subject, sequences, 2, 1, {}, [](double) {});
  ThreadPool pool(1);
  const auto distance = [&](bool corrected) {
    auto inputs =
        *SequentialInputs::make(*subject, subject->core().model().config(), sequences, nullptr, "store=kv16", 16);
    EXPECT_TRUE(inputs->enter(LayerId(0), first, {}).ok());
    EXPECT_TRUE(inputs->leave(LayerFile(tensors_of(LayerId(0), first, 0.9F)), {}).ok());
    EXPECT_TRUE(inputs->enter(LayerId(1), second, {}).ok());
    LayerWeights stored = second;
    for (const Projection& p : kProjections) {
      if (!corrected || (p.input != LayerInput::kMixed && p.input != LayerInput::kGated)) continue;
      const auto before = std::ranges::count_if(kProjections, [&](const Projection& q) { return q.input < p.input; });
      const std::vector<QuantizedTensor> all = tensors_of(LayerId(1), stored, 1);
      const FollowedSums followed =
          all_of(*inputs->follow(p.input, std::span(all).first(static_cast<size_t>(before)), {}));
      const Matrix addend = *solve_damped(followed.gram, 0.05, followed.missing);
      Matrix& w = stored.at(p.name);
      for (size_t i = 0; i < w.data.size(); ++i) w.data[i] += addend.data[i];
    }
    EXPECT_TRUE(inputs->leave(LayerFile(tensors_of(LayerId(1), stored, 1)), {}).ok());
    EXPECT_TRUE(inputs->enter(LayerId(2), third, {}).ok());
    const FollowedSums followed = all_of(*inputs->follow(LayerInput::kAttention, {}, {}));
    double sum = 0;  // |x - y|^2 = x x - y y - 2 (x - y) y
    for (size_t k = 0; k < followed.gram.rows; ++k) {
      sum += double{(*right)[0].gram(LayerInput::kAttention).row(k)[k]} - followed.gram.row(k)[k] -
             2 * double{followed.shift.row(k)[k]};
    }
    return sum;
  };
  EXPECT_LT(distance(true), 0.8 * distance(false));
}

INSTANTIATE_TEST_SUITE_P(Models, SequentialModel,
                         testing::Values("/models/needle-14m-q8_0.gguf", "/tests/data/parity/tiny-gemma3"),
                         [](const auto& p) { return p.index == 0 ? "needle" : "tiny_gemma3"; });

}  // namespace
}  // namespace loci

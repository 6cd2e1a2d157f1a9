#include "calibrate/quantize/sequential.h"

#include <algorithm>
#include <cmath>

#include "model/blocks.h"

namespace loci {
namespace {

LayerPoint point_of(LayerInput input) {
  switch (input) {
    case LayerInput::kAttention:
      return LayerPoint::kAttentionInput;
    case LayerInput::kMixed:
      return LayerPoint::kMixed;
    case LayerInput::kFeedForward:
      return LayerPoint::kFeedForwardInput;
    case LayerInput::kGated:
      return LayerPoint::kGated;
  }
  return LayerPoint::kGated;
}

// Copies the inputs of a layer to rows of matrices.
class InputCopy final : public Tap {
 public:
  void want(LayerInput input, Matrix& to, size_t first_row) { wanted_.push_back({point_of(input), &to, first_row}); }

  void on_rows(LayerId, LayerPoint point, const Rows& x) override {
    for (const Wanted& w : wanted_) {
      if (w.point != point) continue;
      for (uint32_t r = 0; r < x.rows; ++r) std::copy_n(x.row(r), x.width, w.to->row(w.first_row + r));
    }
  }

 private:
  struct Wanted {
    LayerPoint point;
    Matrix* to;
    size_t first_row;
  };
  std::vector<Wanted> wanted_;
};

Rows rows_of_matrix(Matrix& m, size_t first, size_t count) {
  return {m.row(first), static_cast<uint32_t>(count), static_cast<uint32_t>(m.columns),
          static_cast<uint32_t>(m.columns)};
}

// Rows as they come back from 8 bits, a step for each: what the engine multiplies weights of one scale per row with.
void round_to_bytes(Rows& x, ThreadPool& pool) {
  pool.parallel_for(x.rows, [&](size_t r, int) {
    float largest = 0;
    for (const float v : x.span(r)) largest = std::max(largest, std::fabs(v));
    if (largest == 0) return;
    const float step = largest / 127, inverse = 127 / largest;
    for (float& v : x.span(r)) v = step * std::nearbyint(v * inverse);
  });
}

Status not_cancelled(const Cancelled& cancelled) {
  if (cancelled && cancelled()) return fail(ErrorCode::kCancelled, "quantization was stopped");
  return {};
}

}  // namespace

Result<std::unique_ptr<SequentialInputs>> SequentialInputs::make(Subject& subject,
                                                                 std::span<const std::vector<TokenId>> sequences,
                                                                 const Rotation* rotation, const std::string& store,
                                                                 uint32_t activation_bits) {
  auto out = std::unique_ptr<SequentialInputs>(new SequentialInputs(subject));
  out->activation_bits_ = activation_bits;
  LOCI_TRY(out->model_, LayerRunner::make(subject.core(), "store=kv16"));
  LOCI_TRY(out->quantized_, LayerRunner::make(subject.core(), store));
  out->first_rows_ = {0};
  for (const std::vector<TokenId>& tokens : sequences) {
    out->first_rows_.push_back(out->first_rows_.back() + tokens.size());
  }
  out->right_ = Matrix(out->first_rows_.back(), subject.core().model().config().hidden);
  for (size_t s = 0; s < sequences.size(); ++s) out->model_->embed(sequences[s], out->rows_of(out->right_, s));
  if (rotation != nullptr) rotation->apply_to_rows(out->right_, subject.core().threads());
  out->got_ = out->right_;
  return out;
}

Rows SequentialInputs::rows_of(Matrix& stream, size_t sequence) const {
  return rows_of_matrix(stream, first_rows_[sequence], first_rows_[sequence + 1] - first_rows_[sequence]);
}

Status SequentialInputs::enter(LayerId id, const LayerWeights& folded, const Cancelled& cancelled) {
  id_ = id;
  folded_ = &folded;
  std::vector<QuantizedTensor> tensors;
  for (const auto& [name, m] : folded.matrices) {
    QuantizedTensor& t = tensors.emplace_back(store_vector(layer_tensor(id, name), m.data));
    t.plan.shape = {m.rows, m.columns};
  }
  for (const auto& [name, v] : folded.vectors) tensors.push_back(store_vector(layer_tensor(id, name), v));
  const LayerFile file(std::move(tensors));
  LOCI_TRY(const std::unique_ptr<Layer> layer, model_->load(file, id, Activations::kF32));
  const ModelConfig& config = subject_.core().model().config();
  const size_t widths[kLayerInputs] = {config.hidden, config.q_width(), config.hidden, config.ffn};
  for (size_t i = 0; i < kLayerInputs; ++i) inputs_[i] = Matrix(right_.rows, widths[i]);
  for (size_t s = 0; s + 1 < first_rows_.size(); ++s) {
    LOCI_CHECK(not_cancelled(cancelled));
    InputCopy copy;
    for (size_t i = 0; i < kLayerInputs; ++i) copy.want(static_cast<LayerInput>(i), inputs_[i], first_rows_[s]);
    LOCI_CHECK(model_->run(*layer, rows_of(right_, s), &copy));
  }
  return {};
}

// Nothing behind the input that is looked at matters: what is not rounded yet has weights that are quick to multiply.
Result<std::unique_ptr<Layer>> SequentialInputs::unfinished_layer(std::span<const QuantizedTensor> rounded) const {
  std::vector<QuantizedTensor> tensors(rounded.begin(), rounded.end());
  ThreadPool& pool = subject_.core().threads();
  for (const Projection& p : kProjections) {
    const std::string name = layer_tensor(id_, p.name);
    if (std::any_of(rounded.begin(), rounded.end(), [&](const auto& t) { return t.plan.name == name; })) continue;
    tensors.push_back(store_matrix(name, folded_->at(p.name), DType::kQ8_0, pool));
  }
  for (const auto& [name, v] : folded_->vectors) tensors.push_back(store_vector(layer_tensor(id_, name), v));
  return quantized_->load(LayerFile(std::move(tensors)), id_, Activations::kInt16);
}

Result<FollowedInput> SequentialInputs::follow(LayerInput input, std::span<const QuantizedTensor> rounded,
                                               const Cancelled& cancelled) {
  ThreadPool& pool = subject_.core().threads();
  Matrix& right = inputs_[static_cast<size_t>(input)];
  FollowedInput out{.gram = Matrix(right.columns, right.columns), .shift = Matrix(right.columns, right.columns)};
  std::unique_ptr<Layer> layer;
  if (input != LayerInput::kAttention) {
    LOCI_TRY(layer, unfinished_layer(rounded));
  }
  Matrix got, passing;
  for (size_t s = 0; s + 1 < first_rows_.size(); ++s) {
    LOCI_CHECK(not_cancelled(cancelled));
    const Rows stream = rows_of(got_, s);
    got = Matrix(stream.rows, right.columns);
    Rows y = rows_of_matrix(got, 0, stream.rows);
    if (layer == nullptr) {
      quantized_->normalize(stream, folded_->vectors.at("attn_norm.weight"), y);
    } else {
      passing = Matrix(stream.rows, stream.width);
      std::copy_n(stream.data, stream.size(), passing.data.begin());
      InputCopy copy;
      copy.want(input, got, 0);
      LOCI_CHECK(quantized_->run(*layer, rows_of_matrix(passing, 0, stream.rows), &copy));
    }
    if (activation_bits_ == 8) round_to_bytes(y, pool);
    add_gram(y, out.gram, pool);
    Rows x = rows_of(right, s);  // becomes the difference: nobody asks for it again
    for (size_t i = 0; i < x.size(); ++i) x.data[i] -= y.data[i];
    add_product(x, y, out.shift, pool);
  }
  mirror(out.gram);
  right = Matrix();
  return out;
}

Status SequentialInputs::leave(const ModelFile& stored, const Cancelled& cancelled) {
  LOCI_TRY(const std::unique_ptr<Layer> layer, quantized_->load(stored, id_, Activations::kInt16));
  for (size_t s = 0; s + 1 < first_rows_.size(); ++s) {
    LOCI_CHECK(not_cancelled(cancelled));
    LOCI_CHECK(quantized_->run(*layer, rows_of(got_, s), nullptr));
  }
  return {};
}

}  // namespace loci

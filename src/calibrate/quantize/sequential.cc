#include "calibrate/quantize/sequential.h"

#include <algorithm>
#include <cmath>

#include "calibrate/quantize/rounding.h"
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

float root_mean_square(std::span<const float> x) {
  double squares = 0;
  for (const float v : x) squares += double{v} * v;
  return static_cast<float>(std::sqrt(squares / static_cast<double>(x.size())));
}

// to = a - b; nobody asks for what `to` was again.
void to_difference(Rows to, const Rows& a, const Rows& b) {
  for (size_t i = 0; i < to.size(); ++i) to.data[i] = a.data[i] - b.data[i];
}

// Rows over the root mean square of `by`'s: norms see what a token is off by as a share of it. Streams of a sequence's
// first tokens are a hundred times as large as the others'.
void divide_rows(const Rows& by, std::initializer_list<Rows> all) {
  for (uint32_t r = 0; r < by.rows; ++r) {
    const float size = root_mean_square(by.span(r));
    if (size == 0) continue;
    for (Rows rows : all) {
      for (float& v : rows.span(r)) v /= size;
    }
  }
}

// From what a stream lacks to what outputs in front of a norm with `gain` lack: `right` are those in the model, `got`
// those over the inputs that the quantized model has. `end`: `lacks` holds what the norm lets through already. Gains
// that are next to nothing would ask for outputs that are all the norm then sees.
void through_norm(const Matrix& right, const Matrix& got, std::span<const float> gain, bool end, Rows lacks) {
  const float least = root_mean_square(gain) / 2;
  for (size_t r = 0; r < right.rows; ++r) {
    const float right_size = root_mean_square({right.row(r), right.columns});
    const float got_size = root_mean_square({got.row(r), got.columns});
    if (right_size == 0 || got_size == 0) continue;
    for (size_t k = 0; k < gain.size(); ++k) {
      const float missing = right.row(r)[k] / right_size - got.row(r)[k] / got_size;
      float& lack = lacks.row(r)[k];
      if (end) lack -= gain[k] * missing;
      lack = got_size * (missing + lack / std::copysign(std::max(std::fabs(gain[k]), least), gain[k]));
    }
  }
}

bool writes_to_stream(LayerInput input) { return input == LayerInput::kMixed || input == LayerInput::kGated; }

bool is_held_out(size_t sequence, size_t count) {
  return count >= kHoldOut ? sequence % kHoldOut == kHoldOut - 1 : sequence > 0 && sequence + 1 == count;
}

void add_matrix(Matrix& to, const Matrix& m) {
  for (size_t i = 0; i < m.data.size(); ++i) to.data[i] += m.data[i];
}

Status not_cancelled(const Cancelled& cancelled) {
  if (cancelled && cancelled()) return fail(ErrorCode::kCancelled, "quantization was stopped");
  return {};
}

}  // namespace

void FollowedSums::add(const FollowedSums& other) {
  add_matrix(gram, other.gram);
  add_matrix(shift, other.shift);
  add_matrix(missing, other.missing);
}

Result<std::unique_ptr<SequentialInputs>> SequentialInputs::make(Subject& subject, const ModelConfig& config,
                                                                 std::span<const std::vector<TokenId>> sequences,
                                                                 const Rotation* rotation, const std::string& store,
                                                                 uint32_t activation_bits) {
  auto out = std::unique_ptr<SequentialInputs>(new SequentialInputs(subject));
  out->activation_bits_ = activation_bits;
  LOCI_TRY(out->model_, LayerRunner::make(subject.core(), config, "store=kv16"));
  LOCI_TRY(out->quantized_, LayerRunner::make(subject.core(), config, store));
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
  lacks_ = got_;
  for (size_t i = 0; i < lacks_.data.size(); ++i) lacks_.data[i] = right_.data[i] - got_.data[i];
  for (size_t i = 0; i < kLayerInputs; ++i) inputs_[i] = Matrix(right_.rows, widths[i]);
  for (size_t s = 0; s + 1 < first_rows_.size(); ++s) {
    LOCI_CHECK(not_cancelled(cancelled));
    InputCopy copy;
    for (size_t i = 0; i < kLayerInputs; ++i) copy.want(static_cast<LayerInput>(i), inputs_[i], first_rows_[s]);
    LOCI_CHECK(model_->run(*layer, rows_of(right_, s), &copy));
  }
  return {};
}

// Nothing behind the input that is looked at matters, so that what is not rounded yet has weights that are quick to
// multiply; but for down, behind which the stream is compared.
Result<std::unique_ptr<Layer>> SequentialInputs::unfinished_layer(std::span<const QuantizedTensor> rounded) const {
  std::vector<QuantizedTensor> tensors(rounded.begin(), rounded.end());
  ThreadPool& pool = subject_.core().threads();
  for (const Projection& p : kProjections) {
    const std::string name = layer_tensor(id_, p.name);
    if (std::any_of(rounded.begin(), rounded.end(), [&](const auto& t) { return t.plan.name == name; })) continue;
    const bool last = rounded.size() + 1 == std::size(kProjections);
    tensors.push_back(store_matrix(name, folded_->at(p.name), last ? DType::kF16 : DType::kQ8_0, pool));
  }
  for (const auto& [name, v] : folded_->vectors) tensors.push_back(store_vector(layer_tensor(id_, name), v));
  return quantized_->load(LayerFile(std::move(tensors)), id_, Activations::kInt16);
}

Result<FollowedInput> SequentialInputs::follow(LayerInput input, std::span<const QuantizedTensor> rounded,
                                               const Cancelled& cancelled) {
  ThreadPool& pool = subject_.core().threads();
  Matrix& right = inputs_[static_cast<size_t>(input)];
  const bool writes = writes_to_stream(input);
  FollowedSums empty{.gram = Matrix(right.columns, right.columns), .shift = {}, .missing = {}};
  (writes ? empty.missing : empty.shift) = Matrix(writes ? right_.columns : right.columns, right.columns);
  FollowedInput out{.fit = empty, .held = std::move(empty)};
  std::unique_ptr<Layer> layer;
  if (input != LayerInput::kAttention) {
    LOCI_TRY(layer, unfinished_layer(rounded));
  }
  Matrix got, passing;
  for (size_t s = 0; s + 1 < first_rows_.size(); ++s) {
    LOCI_CHECK(not_cancelled(cancelled));
    FollowedSums& sums = is_held_out(s, first_rows_.size() - 1) ? out.held : out.fit;
    const Rows stream = rows_of(got_, s);
    got = Matrix(stream.rows, right.columns);
    const Rows y = all_rows(got);
    if (layer == nullptr) {
      quantized_->attention_input(stream, folded_->vectors.at("attn_norm.weight"), y);
    } else {
      passing = Matrix(stream.rows, stream.width);
      std::copy_n(stream.data, stream.size(), passing.data.begin());
      InputCopy copy;
      copy.want(input, got, 0);
      LOCI_CHECK(quantized_->run(*layer, all_rows(passing), &copy));
    }
    if (activation_bits_ == 8) round_rows_to_bytes(got, pool);
    const Rows x = rows_of(right, s);
    if (writes) {
      Matrix missing = missing_outputs(input, s, x, y, passing);
      add_product(all_rows(missing), y, sums.missing, pool);
    } else {
      to_difference(x, x, y);
      add_product(x, y, sums.shift, pool);
    }
    add_gram(y, sums.gram, pool);
  }
  for (FollowedSums* sums : {&out.fit, &out.held}) mirror(sums->gram);
  right = Matrix();
  if (input == LayerInput::kMixed) lacks_ = Matrix();
  return out;
}

Matrix SequentialInputs::missing_outputs(LayerInput input, size_t sequence, const Rows& x, Rows y, Matrix& passing) {
  ThreadPool& pool = subject_.core().threads();
  const bool end = input == LayerInput::kGated;
  const Rows wanted = rows_of(right_, sequence);
  Matrix out = end ? std::move(passing) : Matrix(x.rows, right_.columns);
  const Rows lacks = all_rows(out);
  to_difference(lacks, end ? wanted : rows_of(lacks_, sequence), lacks);
  const std::vector<float>* gain = folded_->vector(end ? "post_ffw_norm.weight" : "post_attention_norm.weight");
  if (gain == nullptr && end) {  // what has passed is the stream with these weights
    divide_rows(wanted, {y, lacks});
    return out;
  }
  const Matrix& w = folded_->at(end ? "ffn_down.weight" : "attn_output.weight");
  const Matrix right = outputs_of(x, w, pool);
  Matrix got = outputs_of(y, w, pool);
  if (gain != nullptr) {
    through_norm(right, got, *gain, end, lacks);
    divide_rows(all_rows(got), {y, lacks});
  } else {
    for (size_t i = 0; i < out.data.size(); ++i) out.data[i] += right.data[i] - got.data[i];
  }
  divide_rows(wanted, {y, lacks});
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

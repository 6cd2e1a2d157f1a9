#include "model/model.h"

#include <algorithm>

#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/norm.h"

namespace loci {
namespace {

Result<const Family*> configure(const ModelFile& file, ModelConfig& config) {
  LOCI_TRY(const std::string architecture, file.metadata().text("general.architecture"));
  LOCI_TRY(const Family* family, find_family(architecture));
  LOCI_TRY(config, read_config(file));
  if (family->configure != nullptr) LOCI_CHECK(family->configure(file, config));
  return family;
}

}  // namespace

Result<ModelMeasure> Model::measure(const ModelFile& file, Activations activations) {
  ModelMeasure out;
  LOCI_TRY(const Family* family, configure(file, out.config));
  const ModelConfig& config = out.config;
  WeightLoader weights(file, activations, nullptr);
  for (uint32_t i = 0; i < config.layers; ++i) LOCI_CHECK(family->load_layer(weights, config, LayerId(i)));
  out.macs_per_token = weights.macs();
  out.head_macs = uint64_t{config.vocabulary} * config.hidden;
  LOCI_CHECK(weights.vector("output_norm.weight", config.hidden));
  LOCI_CHECK(weights.linear({{"token_embd.weight", config.vocabulary, config.hidden}}));
  if (weights.has("output.weight")) LOCI_CHECK(weights.linear({{"output.weight", config.vocabulary, config.hidden}}));
  out.weights_bytes = weights.bytes();
  out.parameters = weights.parameters();
  return out;
}

Result<Model> Model::load(const ModelFile& file, Activations activations, ThreadPool& pool,
                          const WeightLoader::OnLoad& on_load) {
  Model model;
  LOCI_TRY(model.measure_, measure(file, activations));
  const ModelConfig& config = model.config();
  LOCI_TRY(const Family* family, find_family(config.architecture));
  WeightLoader weights(file, activations, &pool, on_load);
  for (uint32_t i = 0; i < config.layers; ++i) {
    LOCI_TRY(std::unique_ptr<Layer> layer, family->load_layer(weights, config, LayerId(i)));
    model.layers_.push_back(std::move(layer));
  }
  LOCI_TRY(model.output_norm_, weights.vector("output_norm.weight", config.hidden, config.norms_add_one ? 1.0F : 0.0F));
  const bool tied = !weights.has("output.weight");
  if (!tied) {
    LOCI_TRY(PackedMatrix embedding, weights.matrix({"token_embd.weight", config.vocabulary, config.hidden}));
    model.embedding_ = std::move(embedding);
  }
  const char* head = tied ? "token_embd.weight" : "output.weight";
  LOCI_TRY(model.head_, weights.linear({{head, config.vocabulary, config.hidden}}));
  model.head_.round_finer();
  if (weights.bytes() != model.measure_.weights_bytes) {
    return fail(ErrorCode::kInternal, "the weights take {} bytes, but {} were planned", weights.bytes(),
                model.measure_.weights_bytes);
  }
  return model;
}

void Model::embed(OpContext& ops, std::span<const TokenId> ids, Rows x) const {
  loci::embed(ops, embedding_ ? *embedding_ : head_.parts()[0], ids, x);
  if (config().embedding_scale != 1.0F) scale(ops, x, config().embedding_scale);
}

void Model::states(OpContext& ops, const Rows& x, Rows states) const {
  rms_norm(ops, x, output_norm_, config().norm_eps, states);
}

void Model::logits(OpContext& ops, const Rows& x, Rows logits) const {
  const Workspace::Mark mark(ops.scratch);
  Rows h = ops.scratch.rows(x.rows, x.width);
  states(ops, x, h);
  head_.project(ops, h, logits);
}

size_t Model::scratch_bytes(const ModelConfig& config, size_t rows, size_t logit_rows, int threads,
                            size_t executor_bytes) {
  const auto block = [](size_t count, size_t width) { return Workspace::bytes_of<float>(count * width); };
  const size_t stream = block(rows, config.hidden);
  const size_t layers = Batch::scratch_bytes(config, rows) + layer_scratch_bytes(config, rows, threads, executor_bytes);
  // The rows that become logits are gathered, normalised and projected.
  const size_t head = block(logit_rows, config.vocabulary) + 2 * block(logit_rows, config.hidden) +
                      Linear::scratch_bound(logit_rows, config.hidden, threads);
  return stream + std::max(layers, head);
}

}  // namespace loci

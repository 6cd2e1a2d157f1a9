#include "calibrate/quantize/layer_runner.h"

#include "model/family.h"
#include "ops/norm.h"

namespace loci {

LayerFile::LayerFile(std::vector<QuantizedTensor> tensors) : held_(std::move(tensors)) {
  for (const QuantizedTensor& t : held_) tensors_.push_back({t.plan.name, t.plan.dtype, t.plan.shape, t.bytes});
}

LayerRunner::LayerRunner(Core& core, ModelConfig config, std::shared_ptr<const BoundPlan> plan, Workspace scratch)
    : core_(core), config_(std::move(config)), plan_(std::move(plan)), scratch_(std::move(scratch)) {
  config_.norms_add_one = false;
}

Result<std::unique_ptr<LayerRunner>> LayerRunner::make(Core& core, ModelConfig config, const std::string& store) {
  LOCI_TRY(std::shared_ptr<const BoundPlan> plan, core.bind(store));
  std::optional<InputTurn> turn;
  if (config.turns_inputs) {
    LOCI_TRY(turn, InputTurn::of_width(config.hidden));
  }
  LOCI_TRY(Workspace scratch, Workspace::allocate(core.layout().memory.scratch_bytes));
  auto out =
      std::unique_ptr<LayerRunner>(new LayerRunner(core, std::move(config), std::move(plan), std::move(scratch)));
  out->turn_ = std::move(turn);
  return out;
}

Result<std::unique_ptr<Layer>> LayerRunner::load(const ModelFile& file, LayerId id, Activations activations) const {
  LOCI_TRY(const Family* family, find_family(config_.architecture));
  WeightLoader weights(file, activations, &core_.threads());
  return family->load_layer(weights, config_, id);
}

Status LayerRunner::run(const Layer& layer, Rows x, Tap* tap) {
  Sequence sequence(plan_);
  core_.begin_prompt(sequence, {.prompt_tokens = core_.layout().context,  // its end does not matter
                                .total_tokens = core_.layout().context,
                                .seed = 0,
                                .task = {},
                                .spans = {}});
  LOCI_CHECK(sequence.cache.reserve(x.rows));
  const BatchItem item{.stages = sequence.plan->layout.stages.get(),
                       .cache = &sequence.cache,
                       .state = &sequence.state,
                       .facts = &sequence.facts,
                       .first_row = 0,
                       .rows = x.rows,
                       .first_position = TokenPos(0),
                       .phase = Phase::kPrefill,
                       .prompt_ends = false};
  const ThreadPool::Step step(core_.threads());
  const Workspace::Mark mark(scratch_);
  OpContext context = ops();
  Batch batch(context, config_, executor_, core_.layout().work, {&item, 1}, tap);
  layer.forward(batch, x);
  sequence.cache.abandon_pass();
  return {};
}

void LayerRunner::attention_input(const Rows& x, std::span<const float> gain, Rows out) {
  OpContext context = ops();
  rms_norm(context, x, gain, config_.norm_eps, out);
  if (turn_) (*turn_)(context, out);
}

void LayerRunner::embed(std::span<const TokenId> tokens, Rows x) {
  OpContext context = ops();
  core_.model().embed(context, tokens, x);
}

}  // namespace loci

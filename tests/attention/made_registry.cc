#include "attention/made_registry.h"

namespace loci {

namespace test {
namespace {

// Registry lines need a factory; nobody calls these.
void nothing() {}

template <typename StageClass>
const Make<StageClass> make = reinterpret_cast<Make<StageClass>>(nothing);

Status check_snap(const MethodCall& call) {
  const auto o = call.as<MadeRegistry::SnapOptions>();
  if (o.window < o.budget) return {};
  return fail(ErrorCode::kInvalidArgument, "window is {}, but must be below the budget of {}", o.window, o.budget);
}

bool duo_changes_prompt(const MethodCall& call) { return call.as<MadeRegistry::DuoOptions>().ratio < 1; }

Method made_streaming() {
  using O = MadeRegistry::StreamingOptions;
  return {
      .name = "streaming",
      .summary = "Keeps the first and the last entries.",
      .stages = {Stage::kRetain},
      .parameters = {integer<&O::sinks>("sinks", {0, 1 << 20}, "entries", "kept at the beginning"),
                     integer<&O::window>("window", {1, 1 << 20}, "entries", "kept at the end")},
      .citation = "made up",
      .dense_when = "sinks + window >= length",
      .excludes = {{"tokens", "a token outside the window cannot be selected"}},
      .make_retain = make<Retain>,
  };
}

Method made_snap() {
  using O = MadeRegistry::SnapOptions;
  return {
      .name = "snap",
      .summary = "Keeps what the last rows look at.",
      .stages = {Stage::kRetain},
      .parameters = {integer<&O::budget>("budget", {1, 1 << 20}, "entries", "kept, the window included"),
                     integer<&O::window>("window", {1, 1024}, "rows", "that vote"),
                     integer<&O::kernel>("kernel", {1, 255, 2}, "entries", "width of the pooling"),
                     choice<&O::pool>("pool", {"mean", "max"}, "how votes are pooled"),
                     flag<&O::sinks>("sinks", "the first four entries are always kept")},
      .lookback = {.count = 1, .times = {"window"}},
      .citation = "made up",
      .dense_when = "budget >= length",
      .changes_prompt = never,
      .check = check_snap,
      .make_retain = make<Retain>,
  };
}

Method made_duo() {
  using O = MadeRegistry::DuoOptions;
  return {
      .name = "duo",
      .summary = "Some heads keep everything, the others the ends.",
      .stages = {Stage::kRetain},
      .parameters = {number<&O::ratio>("ratio", {0, 1}, "", "share of the KV heads that keep everything"),
                     text<&O::profile>("profile", "the profile to read")},
      .citation = "made up",
      .dense_when = "ratio = 1",
      .profile = "duo",
      .request = {RequestData::kTotalLength},
      .changes_prompt = duo_changes_prompt,
      .make_retain = make<Retain>,
  };
}

Method made_flex() {
  using O = MadeRegistry::FlexOptions;
  return {
      .name = "flex",
      .summary = "Reads the blocks that carry the mass.",
      .stages = {Stage::kSelect},
      .phases = {Phase::kPrefill},
      .parameters = {number<&O::gamma>("gamma", {0.01}, "", "share of the mass"),
                     integer<&O::block>("block", {16, 128, 16}, "tokens", "of a block"),
                     integer<&O::step>("step", {1, 64}, "blocks", "that share a list")},
      .cell = {.count = 1, .times = {"block", "step"}},
      .tile = {.count = 1, .times = {"block"}},
      .citation = "made up",
      .dense_when = "gamma > 1",
      .make_select = make<Select>,
  };
}

Method made_tokens() {
  using O = MadeRegistry::TokensOptions;
  return {
      .name = "tokens",
      .summary = "Reads the tokens that the heads of a layer vote for.",
      .stages = {Stage::kSelect},
      .parameters = {integer<&O::k>("k", {1, 1 << 20}, "tokens", "that are read")},
      .granularity = Granularity::kLayer,
      .cell = {.count = 512},
      .citation = "made up",
      .dense_when = "k >= length",
      .waivers = {{Conformance::kReplayAgrees, "it has nothing to replay"}},
      .make_select = make<Select>,
  };
}

Method made_recycle() {
  Method out = made_tokens();
  out.name = "recycle";
  out.phases = {Phase::kDecode};
  out.waivers = {};
  return out;
}

Method made_calibrate() {
  using O = MadeRegistry::CalibrateOptions;
  return {
      .name = "calibrate",
      .summary = "Shrinks the mass of sinks.",
      .stages = {Stage::kMix},
      .parameters = {number<&O::beta>("beta", {0, 1}, "", "factor of a sink's mass")},
      .citation = "made up",
      .dense_when = "beta = 1",
      .excludes = {{"flex", "it needs whole rows"}},
      .make_mix = make<Mix>,
  };
}

Method made_gates() {
  return {
      .name = "gates",
      .summary = "Heads are scaled.",
      .stages = {Stage::kMix},
      .granularity = Granularity::kModel,
      .citation = "made up",
      .dense_when = "no head is gated",
      .make_mix = make<Mix>,
  };
}

}  // namespace

MadeRegistry::MadeRegistry()
    : streaming(made_streaming()),
      snap(made_snap()),
      duo(made_duo()),
      flex(made_flex()),
      recycle(made_recycle()),
      tokens(made_tokens()),
      calibrate(made_calibrate()),
      gates(made_gates()),
      registry({&kDense, &kStoreKv16, &kStoreKv8, &kStoreKv4, &streaming, &snap, &duo, &flex, &recycle, &tokens,
                &calibrate, &gates},
               {{"long", "retain=duo(ratio=0.25); store=kv4", "Long prompts in little memory."},
                {"fast", "select=prefill:flex,decode:tokens(k=1024)", "Short waits."}}) {}

}  // namespace test
}  // namespace loci

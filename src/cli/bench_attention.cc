// loci bench attention: what a plan's decode steps cost in attention alone, selecting and reading apart, beside another
// plan in turns with it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "attention/bare_layers.h"
#include "base/progress.h"
#include "base/quantity.h"
#include "cli/bench_prompt_attention.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/table.h"
#include "io/model_file.h"
#include "kernels/cpu/roof/roof.h"
#include "model/config.h"

namespace loci {
namespace {

struct AttentionBench {
  std::string attention = "dense";
  std::string against = "dense";
  std::string shape = "llama3-8b,layers=8";
  std::string model;
  std::string prompt;
  uint32_t repetitions = 3;
  std::vector<uint32_t> depths{16384};
  uint32_t batch = 1;
  uint32_t steps = 64;
  std::string schedule = "stream";
  double alike = 0.2;
  int threads = 0;
  std::string isa = "auto";
  uint64_t seed = 0;
  bool json = false;
};

struct NamedShape {
  std::string_view name;
  uint32_t layers, query_heads, kv_heads, head_dim;
};
constexpr NamedShape kShapes[] = {{"llama3-8b", 32, 32, 8, 128},
                                  {"llama3-70b", 80, 64, 8, 128},
                                  {"qwen2-7b", 28, 28, 4, 128},
                                  {"gemma3-1b", 26, 4, 1, 256}};

constexpr double kRopeBase = 500000;  // Llama 3's

ModelShape shape_of(uint32_t layers, uint32_t query_heads, uint32_t kv_heads, uint32_t head_dim) {
  return {.layers = layers,
          .query_heads = query_heads,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .score_scale = 1.0F / std::sqrt(static_cast<float>(head_dim)),
          .windows = std::vector<uint32_t>(layers, 0),
          .fingerprint = {},
          .rotary = {.pairing = RopePairing::kHalves,
                     .inverse_frequencies = plain_rope(kRopeBase, head_dim).inverse_frequencies}};
}

Result<ModelShape> model_shape(const std::string& model, const Console& console) {
  LOCI_TRY(const std::filesystem::path path, find_model(model, console));
  LOCI_TRY(const std::unique_ptr<ModelFile> file, open_model_file(path));
  LOCI_TRY(const ModelConfig config, read_config(*file));
  ModelShape out = shape_of(config.layers, config.query_heads, config.kv_heads, config.head_dim);
  out.score_scale = config.score_scale;
  out.rotary = {.pairing = config.rope_pairing, .inverse_frequencies = config.rope[0].inverse_frequencies};
  for (uint32_t i = 0; i < config.layers; ++i) out.windows[i] = config.layer_window(i);
  return out;
}

// "llama3-8b", "llama3-8b,layers=8".
Result<ModelShape> named_shape(const std::string& text) {
  const size_t comma = text.find(',');
  const std::string name = text.substr(0, comma);
  const auto* found =
      std::find_if(std::begin(kShapes), std::end(kShapes), [&](const NamedShape& shape) { return shape.name == name; });
  if (found == std::end(kShapes)) {
    return fail(ErrorCode::kNotFound, "there is no shape '{}'; use llama3-8b, llama3-70b, qwen2-7b or gemma3-1b", name);
  }
  uint32_t layers = found->layers;
  if (comma != std::string::npos) {
    constexpr std::string_view kLayers = "layers=";
    const std::string_view rest = std::string_view(text).substr(comma + 1);
    uint32_t given = 0;
    const bool named = rest.substr(0, kLayers.size()) == kLayers;
    const std::string_view digits = named ? rest.substr(kLayers.size()) : std::string_view();
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), given);
    if (!named || error != std::errc() || end != digits.data() + digits.size() || given < 1 || given > layers) {
      return fail(ErrorCode::kInvalidArgument, "the shape is '{}', but what follows its name must be layers=1..{}",
                  text, layers);
    }
    layers = given;
  }
  return shape_of(layers, found->query_heads, found->kv_heads, found->head_dim);
}

struct Measured {
  std::string plan;
  double select = 0, read = 0, slowest = 0;  // seconds of a step: means, and the slowest step's both
  double bytes = 0;                          // of a step
  uint64_t kv_bytes = 0;
  double busy_wall = 0;
  std::vector<double> busy;
  std::string made_up;

  double total() const { return select + read; }
  double gb_s() const { return bytes / 1e9 / std::max(read, 1e-12); }
};

void add(Measured& to, const BareStep& step) {
  to.select += step.select_seconds;
  to.read += step.read_seconds;
  to.slowest = std::max(to.slowest, step.select_seconds + step.read_seconds);
  to.bytes += static_cast<double>(step.read_bytes);
}

Result<std::vector<Measured>> measure(const AttentionBench& command, const ModelShape& shape, ThreadPool& pool, Isa isa,
                                      const Console& console) {
  BareLayersOptions options{.model = shape,
                            .depths = {},
                            .steps = command.steps,
                            .alike = command.alike,
                            .seed = command.seed,
                            .isa = isa,
                            .schedule = command.schedule == "split" ? Schedule::kSplit : Schedule::kStream};
  for (uint32_t i = 0; i < command.batch; ++i) options.depths.push_back(command.depths[i % command.depths.size()]);
  std::vector<Measured> out(2);
  std::vector<std::unique_ptr<BareLayers>> layers;
  for (const std::string* text : {&command.attention, &command.against}) {
    LOCI_TRY(const AttentionPlan plan, AttentionPlan::parse(*text));
    LOCI_TRY(std::unique_ptr<BareLayers> made, BareLayers::make(plan, options, pool));
    LOCI_CHECK(made->fill());
    out[layers.size()].plan = plan.canonical();
    layers.push_back(std::move(made));
  }
  ProgressBar bar("steps", ProgressUnit::kTokens, console.err);
  for (uint32_t step = 0; step < command.steps; ++step) {
    if (console.cancelled()) return Error{ErrorCode::kCancelled, "interrupted"};
    for (size_t i = 0; i < layers.size(); ++i) {  // in turns, so that both meet the same machine
      LOCI_TRY(const BareStep done, layers[i]->step());
      add(out[i], done);
    }
    bar.update(step + 1, command.steps);
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    for (double* sum : {&out[i].select, &out[i].read, &out[i].bytes}) *sum /= command.steps;
    out[i].kv_bytes = layers[i]->kv_bytes();
    out[i].busy_wall = layers[i]->times().wall;
    out[i].busy = layers[i]->times().busy;
    out[i].made_up = layers[i]->made_up();
  }
  return out;
}

nlohmann::ordered_json measured_json(const std::vector<Measured>& rows, const AttentionBench& command, double roof) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const Measured& row : rows) {
    nlohmann::ordered_json busy = nlohmann::ordered_json::array();
    for (const double seconds : row.busy) busy.push_back(seconds / row.busy_wall);
    out.push_back({{"attention", row.plan},
                   {"depths", command.depths},
                   {"batch", command.batch},
                   {"steps", command.steps},
                   {"schedule", command.schedule},
                   {"alike", command.alike},
                   {"select_ms", row.select * 1e3},
                   {"read_ms", row.read * 1e3},
                   {"step_ms", row.total() * 1e3},
                   {"slowest_step_ms", row.slowest * 1e3},
                   {"speedup", rows.back().total() / row.total()},
                   {"read_bytes", row.bytes},
                   {"gb_s", row.gb_s()},
                   {"roof_gb_s", roof},
                   {"roof_share", row.gb_s() / roof},
                   {"kv_bytes", row.kv_bytes},
                   {"worker_busy", std::move(busy)},
                   {"made_up_profiles", row.made_up}});
  }
  return out;
}

std::string measured_table(const std::vector<Measured>& rows, double roof) {
  TextTable table({{"plan"},
                   {"select ms", true},
                   {"read ms", true},
                   {"step ms", true},
                   {"slowest", true},
                   {"speedup", true},
                   {"read", true},
                   {"GB/s", true},
                   {"of roof", true},
                   {"cache", true},
                   {"workers busy", true}});
  for (const Measured& row : rows) {
    std::string busy;
    for (const double seconds : row.busy)
      busy += fmt::format("{}{:.1f}%", busy.empty() ? "" : " ", seconds / row.busy_wall * 100);
    table.add({row.plan, fmt::format("{:.3f}", row.select * 1e3), fmt::format("{:.3f}", row.read * 1e3),
               fmt::format("{:.3f}", row.total() * 1e3), fmt::format("{:.3f}", row.slowest * 1e3),
               fmt::format("{:.2f}x", rows.back().total() / row.total()),
               format_bytes(static_cast<uint64_t>(row.bytes)), format_number(row.gb_s()),
               fmt::format("{:.0f}%", row.gb_s() / roof * 100), format_bytes(row.kv_bytes), busy});
  }
  return table.text();
}

Result<int> bench_prompt(const Console& console, const AttentionBench& command) {
  PromptAttention out{.text = command.prompt,
                      .plans = {command.attention, command.against},
                      .model = {},
                      .lengths = command.depths,
                      .repetitions = command.repetitions,
                      .json = command.json};
  out.model.model = command.model;
  out.model.threads = command.threads;
  out.model.isa = command.isa;
  return bench_prompt_attention(console, out);
}

Result<int> bench_attention(const Console& console, const AttentionBench& command) {
  if (!command.prompt.empty()) return bench_prompt(console, command);
  LOCI_TRY(const ModelShape shape,
           command.model.empty() ? named_shape(command.shape) : model_shape(command.model, console));
  LOCI_TRY(const Isa isa, parse_isa(command.isa));
  ThreadPool pool(command.threads);
  constexpr RoofOptions kBrief{.buffer_bytes = size_t{256} << 20, .seconds_per_loop = 0.2};
  LOCI_TRY(const double before, measure_reads(pool, isa, kBrief));
  LOCI_TRY(const std::vector<Measured> rows, measure(command, shape, pool, isa, console));
  LOCI_TRY(const double after, measure_reads(pool, isa, kBrief));
  const double roof = std::max(before, after) / 1e9;
  if (command.json) {
    console.write_json(measured_json(rows, command, roof));
    return kExitOk;
  }
  const std::string made_up =
      rows[0].made_up.empty() ? "" : fmt::format("; profiles made up ({}): random heads", rows[0].made_up);
  console.print(
      "{} layers of {} query and {} KV heads of {}, {} threads, {} steps of {} sequences, schedule {}. Random entries "
      "and queries, {:.0f}% of the steps with queries like the last step's{}. Roof: read {} GB/s\n\n{}",
      shape.layers, shape.query_heads, shape.kv_heads, shape.head_dim, pool.size(), command.steps, command.batch,
      command.schedule, command.alike * 100, made_up, format_number(roof), measured_table(rows, roof));
  return kExitOk;
}

}  // namespace

void add_bench_attention(const Command& bench, Choice& choice) {
  auto options = std::make_shared<AttentionBench>();
  const Command command = bench.add_command(
      "attention",
      "Measure the attention of decode steps under a plan, without a model: layers of --shape (or of a model's\n"
      "heads, -m) with random entries, queries and, where a plan needs one, a random profile. Selecting and reading\n"
      "are timed apart, in turns with a second plan (dense); \"speedup\" is over it. Selecting includes what methods\n"
      "do before and after the read. GB/s count the bytes of the entries that were read, over the time of reading;\n"
      "the roof is the read bandwidth measured before and after. \"workers busy\" is each worker's share of the\n"
      "reading time. With --prompt FILE it is the prompt's attention that is measured, on real entries: --model reads\n"
      "the first --depth tokens of the text, as often as --reps says, under each plan in turns.",
      "  loci bench attention --attention 'tokenselect(k=2048)' --depth 16384 --threads 2\n"
      "  loci bench attention --attention 'recycled(k=2048)' --steps 100\n"
      "  loci bench attention -m needle --prompt book.txt --attention 'flexprefill(gamma=0.95)' --depth 1024,16384\n"
      "  loci bench attention --shape llama3-8b,layers=1 --batch 8 --depth 1024,32768,4096 --schedule split\n");
  command.add_option("--attention", options->attention, "Plan to measure").shows_default().type("PLAN");
  command.add_option("--against", options->against, "Plan to measure beside it").shows_default().type("PLAN");
  command
      .add_option("--shape", options->shape,
                  "Heads: llama3-8b, llama3-70b, qwen2-7b or gemma3-1b, and, behind a comma, layers=N")
      .shows_default()
      .type("SHAPE");
  const Option model =
      command.add_option("-m,--model", options->model, "Take layers and heads from this model instead").type("MODEL");
  command.add_option("--prompt", options->prompt, "Text whose first --depth tokens --model reads; - is standard input")
      .type("FILE");
  command.add_option("--reps", options->repetitions, "With --prompt: how often each plan reads them; the median counts")
      .shows_default()
      .range(1u, 1000u)
      .type("R");
  command.add_option("--depth", options->depths, "Tokens in the cache; of several, the sequences take turns")
      .separator(',')
      .default_text("16384")
      .range(1u, 1u << 24)
      .type("D,...");
  command.add_option("--batch", options->batch, "Sequences that are stepped together")
      .shows_default()
      .range(1u, 1024u)
      .type("N");
  command.add_option("--steps", options->steps, "Decode steps").shows_default().range(1u, 1u << 20).type("N");
  command
      .add_option("--schedule", options->schedule,
                  "How reads are dealt to workers: stream, in equal runs of entries; split, in equal numbers of "
                  "heads, cut where there are fewer heads than workers")
      .shows_default()
      .one_of({"stream", "split"})
      .type("NAME");
  command.add_option("--alike", options->alike, "Share of steps whose queries are nearly those of the step before")
      .shows_default()
      .range(0.0, 1.0)
      .type("P");
  command.add_option("--threads", options->threads, "Worker threads; 0: one for each core this process may use")
      .shows_default()
      .range(0, 1024)
      .type("N");
  command.add_option("--isa", options->isa, "Instruction set of the kernels: auto, scalar, avx2, avx512, amx")
      .shows_default()
      .one_of({"auto", "scalar", "avx2", "avx512", "amx"})
      .type("ISA");
  command.add_option("--seed", options->seed, "Seed of everything random").shows_default().type("S");
  command.add_flag("--json", options->json,
                   "Print an array of two rows, the plan and what it is measured beside: attention, depths, batch,\n"
                   "steps, schedule, alike, select_ms, read_ms, step_ms, slowest_step_ms, speedup, read_bytes, gb_s,\n"
                   "roof_gb_s, roof_share, kv_bytes, worker_busy, made_up_profiles; with --prompt two rows a depth:\n"
                   "attention, model, threads, prompt_tokens, select_ms, read_ms, attention_ms, speedup,\n"
                   "select_of_saved (null if nothing is), read_gmac_s, prefill_ms");
  set_action(command, choice, options, bench_attention, [options, model] {
    if (!options->prompt.empty()) require_options({model}, 1, 1);
  });
}

}  // namespace loci

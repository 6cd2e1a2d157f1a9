// loci bench: speed of reading and writing at several depths, beside what the machine could do at best.
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "base/checked.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/progress.h"
#include "base/quantity.h"
#include "base/threads.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/table.h"
#include "cli/workload.h"

namespace loci {
namespace {

struct BenchCommand {
  ModelOptions model;
  uint32_t prompt = 512;
  uint32_t generate = 64;
  std::vector<uint32_t> depths{0};
  uint32_t batch = 1;
  uint32_t repetitions = 3;
  uint64_t seed = 0;
  bool json = false;
};

struct Row {
  std::string test;
  uint32_t depth = 0;
  uint32_t batch = 1;
  double tok_s = 0;  // of all sequences together
  double tok_s_min = 0;
  double tok_s_max = 0;
  double gb_s = 0;
  double gmac_s = 0;
  double roof_share = 0;
  double roof_gb_s = 0;  // measured beside the test
  uint64_t kv_bytes = 0;
};

// What one repetition measured.
struct Repetition {
  double seconds = 0;
  double tokens = 0;
  uint64_t kv_bytes = 0;
  double attention_bytes = 0;  // of cache read, for all tokens
  double attention_macs = 0;
};

double per_second(double amount, const Repetition& s) { return amount / std::max(s.seconds, 1e-9); }

// Steps that the first sequences of a batch make while the prompts of the others are read.
uint32_t early_steps(uint32_t batch, uint32_t depth, uint32_t chunk) {
  const uint32_t prompt_rows = chunk > batch ? chunk - batch : 1;
  return static_cast<uint32_t>(div_up(uint64_t{batch} * std::max(depth, 1u), prompt_rows)) + 2;
}

class Bench {
 public:
  Bench(Engine& engine, const BenchCommand& command, const Roof& roof, ThreadPool& pool, Isa isa,
        const Console& console)
      : engine_(engine),
        command_(command),
        roof_(roof),
        pool_(pool),
        isa_(isa),
        console_(console),
        random_(command.seed) {}

  Result<std::vector<Row>> rows() {
    std::vector<Row> out;
    for (const uint32_t depth : command_.depths) {
      if (command_.batch > 1) {
        if (command_.generate == 0) continue;
        LOCI_TRY(Row row, beside_roof(batch_row(depth)));
        out.push_back(std::move(row));
        continue;
      }
      LOCI_TRY(const Session base, session_of(depth));
      if (command_.prompt > 0) {
        LOCI_TRY(Row row, beside_roof(prefill_row(base, depth)));
        out.push_back(std::move(row));
      }
      if (command_.generate > 0) {
        LOCI_TRY(Row row, beside_roof(decode_row(base, depth)));
        out.push_back(std::move(row));
      }
    }
    return out;
  }

 private:
  // On machines shared with others the read bandwidth moves from minute to minute: what counts for a test is the best
  // of before and after it.
  Result<Row> beside_roof(Result<Row> row) {
    if (!row.ok()) return row;
    const double before = roof_.read_bytes_per_second;
    constexpr RoofOptions kBrief{.buffer_bytes = size_t{256} << 20, .seconds_per_loop = 0.1};
    LOCI_TRY(roof_.read_bytes_per_second, measure_reads(pool_, isa_, kBrief));
    const double best = std::max(before, roof_.read_bytes_per_second);
    row->roof_gb_s = best / 1e9;
    if (row->test == "decode") row->roof_share = row->gb_s / row->roof_gb_s;
    return row;
  }

  std::vector<TokenId> random_tokens(uint32_t count) {
    // Plain modulo: the ids need only be spread out, and the same everywhere.
    std::vector<TokenId> ids(count);
    for (TokenId& id : ids) id = static_cast<TokenId>(random_() % engine_.info().vocabulary);
    return ids;
  }

  Result<Completion> feed(Session& session, uint32_t prompt, uint32_t generate, const std::string& label) {
    ProgressBar bar(label, ProgressUnit::kTokens, console_.err);
    Request request;
    request.prompt = random_tokens(prompt);
    request.max_new_tokens = generate;
    request.ignore_eos = true;
    request.cancelled = console_.cancel_flag();
    request.on_progress = [&](const Progress& p) {
      bar.update(p.generated > 0 ? p.generated : p.prompt_done, p.generated > 0 ? generate : p.prompt_total);
    };
    LOCI_TRY(Completion done, session.generate(request));
    if (done.finish == Finish::kCancelled) return Error{ErrorCode::kCancelled, "interrupted"};
    return done;
  }

  // What attention did since `before`, of whose passes `share` count.
  void count_attention(const EngineCounters& before, double share, Repetition& sample) const {
    const EngineCounters now = engine_.counters();
    sample.attention_bytes = static_cast<double>(now.attention_bytes - before.attention_bytes) * share;
    sample.attention_macs = static_cast<double>(now.attention_macs - before.attention_macs) * share;
  }

  // A session that holds `depth` tokens. Every repetition forks it, so the depth is read once.
  Result<Session> session_of(uint32_t depth) {
    LOCI_TRY(Session session, engine_.open_session());
    if (depth == 0) return session;
    LOCI_CHECK(feed(session, depth, 1, fmt::format("reaching depth {}", depth)));
    LOCI_CHECK(session.trim(depth));
    return session;
  }

  Result<Row> prefill_row(const Session& base, uint32_t depth) {
    std::vector<Repetition> samples;
    for (uint32_t i = 0; i < command_.repetitions; ++i) {
      LOCI_TRY(Session session, base.fork());
      const EngineCounters before = engine_.counters();
      LOCI_TRY(const Completion done, feed(session, command_.prompt, 1, fmt::format("prefill at {}", depth)));
      samples.push_back({done.prefill_seconds, static_cast<double>(command_.prompt), done.kv_bytes});
      count_attention(before, 1, samples.back());
    }
    Workload work = prefill_workload(engine_.info(), command_.prompt, depth, command_.model.chunk);
    Row row = row_of("prefill", depth, samples, work, command_.prompt);
    row.roof_share = prefill_roof_share(work, roof_, command_.model.activations == "f32", command_.prompt / row.tok_s);
    return row;
  }

  Result<Row> decode_row(const Session& base, uint32_t depth) {
    std::vector<Repetition> samples;
    for (uint32_t i = 0; i < command_.repetitions; ++i) {
      LOCI_TRY(Session session, base.fork());
      // The prompt's pass gives the first token; the steps after it are what counts.
      const EngineCounters before = engine_.counters();
      LOCI_TRY(const Completion done, feed(session, 1, command_.generate + 1, fmt::format("decode at {}", depth)));
      samples.push_back({done.decode_seconds, static_cast<double>(command_.generate), done.kv_bytes});
      count_attention(before, command_.generate / (command_.generate + 1.0), samples.back());
    }
    Workload work = decode_workload(engine_.info(), command_.generate, depth + 1);
    return row_of("decode", depth, samples, work, command_.generate);
  }

  // Several sequences of `depth` tokens each. Only the time in which all of them write counts: from the last one's
  // first token to the first one's last.
  Result<Row> batch_row(uint32_t depth) {
    std::vector<Repetition> samples;
    double first_depth = 0;  // mean, of the repetitions' first counted steps
    for (uint32_t i = 0; i < command_.repetitions; ++i) {
      LOCI_TRY(const Repetition sample, batch_sample(depth, first_depth));
      samples.push_back(sample);
    }
    const double batch = command_.batch;
    Workload work =
        decode_workload(engine_.info(), command_.generate, static_cast<uint32_t>(first_depth / command_.repetitions));
    const double weights = static_cast<double>(engine_.info().weights_bytes) * command_.generate;
    work.bytes = weights + (work.bytes - weights) * batch;  // a step reads the weights once for all
    work.linear_macs *= batch;
    work.attention_macs *= batch;
    Row row = row_of("decode", depth, samples, work, command_.generate * batch);
    row.batch = command_.batch;
    return row;
  }

  Result<Repetition> batch_sample(uint32_t depth, double& first_depth) {
    const uint32_t steps = command_.generate + early_steps(command_.batch, depth, command_.model.chunk);
    ProgressBar bar(fmt::format("{} sequences at {}", command_.batch, depth), ProgressUnit::kTokens, console_.err);
    std::vector<std::vector<double>> written(command_.batch);  // when each token was
    std::vector<Request> requests(command_.batch);
    for (uint32_t i = 0; i < command_.batch; ++i) {
      requests[i].prompt = random_tokens(std::max(depth, 1u));
      requests[i].max_new_tokens = steps;
      requests[i].ignore_eos = true;
      requests[i].cancelled = console_.cancel_flag();
      requests[i].on_progress = [&, i](const Progress& p) {
        if (p.generated > written[i].size()) written[i].push_back(seconds_now());
        if (i == 0) bar.update(p.generated, steps);
      };
    }
    Repetition sample;
    for (const Result<Completion>& done : engine_.generate(requests)) {
      if (!done.ok()) return done.error();
      if (done->finish == Finish::kCancelled) return Error{ErrorCode::kCancelled, "interrupted"};
      sample.kv_bytes += done->kv_bytes;
    }
    double begin = 0, end = written[0].back();
    for (const std::vector<double>& times : written) {
      begin = std::max(begin, times.front());
      end = std::min(end, times.back());
    }
    double before = 0;
    for (const std::vector<double>& times : written) {
      const auto first = std::upper_bound(times.begin(), times.end(), begin);
      before += static_cast<double>(first - times.begin());
      sample.tokens += static_cast<double>(std::upper_bound(first, times.end(), end) - first);
    }
    first_depth += depth + before / command_.batch;
    sample.seconds = end - begin;
    return sample;
  }

  // The median repetition stands for all. `work` is what `tokens` tokens need when everything is read; attention's part
  // becomes what was counted, if it was.
  Row row_of(const char* test, uint32_t depth, std::vector<Repetition> samples, Workload& work, double tokens) const {
    std::sort(samples.begin(), samples.end(), [](const Repetition& a, const Repetition& b) {
      return per_second(a.tokens, a) > per_second(b.tokens, b);
    });
    const Repetition& median = samples[samples.size() / 2];
    if (median.attention_macs > 0) {
      const double passes = std::string_view(test) == "prefill" ? std::ceil(tokens / std::max(1u, command_.model.chunk))
                                                                : tokens / command_.batch;
      work.bytes = static_cast<double>(engine_.info().weights_bytes) * passes + median.attention_bytes;
      work.attention_macs = median.attention_macs;
    }
    Row row;
    row.test = test;
    row.depth = depth;
    row.tok_s = per_second(median.tokens, median);
    row.tok_s_min = per_second(samples.back().tokens, samples.back());
    row.tok_s_max = per_second(samples.front().tokens, samples.front());
    row.gb_s = work.bytes / 1e9 * row.tok_s / tokens;
    row.gmac_s = (work.linear_macs + work.attention_macs) / 1e9 * row.tok_s / tokens;
    row.kv_bytes = median.kv_bytes;
    return row;
  }

  Engine& engine_;
  const BenchCommand& command_;
  Roof roof_;
  ThreadPool& pool_;
  Isa isa_;
  const Console& console_;
  std::mt19937_64 random_;
};

nlohmann::ordered_json rows_json(const std::vector<Row>& rows, const ModelInfo& info, const Roof& roof, int threads,
                                 double load_seconds) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    out.push_back({{"test", row.test},
                   {"depth", row.depth},
                   {"batch", row.batch},
                   {"tok_s", row.tok_s},
                   {"tok_s_min", row.tok_s_min},
                   {"tok_s_max", row.tok_s_max},
                   {"gb_s", row.gb_s},
                   {"gmac_s", row.gmac_s},
                   {"roof_share", row.roof_share},
                   {"kv_bytes", row.kv_bytes},
                   {"model", info.name},
                   {"attention", info.attention},
                   {"threads", threads},
                   {"load_s", load_seconds},
                   {"roof_gb_s", row.roof_gb_s},
                   {"roof_one_thread_gb_s", roof.read_one_thread_bytes_per_second / 1e9},
                   {"roof_int8_gmac_s", roof.int8_macs_per_second / 1e9},
                   {"roof_f32_gmac_s", roof.f32_macs_per_second / 1e9},
                   {"roof_bf16_gmac_s", roof.bf16_macs_per_second / 1e9},
                   {"roof_int16_gmac_s", roof.int16_macs_per_second / 1e9}});
  }
  return out;
}

std::string rows_table(const std::vector<Row>& rows) {
  TextTable table({{"test"},
                   {"depth", true},
                   {"tok/s", true},
                   {"min-max", true},
                   {"GB/s", true},
                   {"GMAC/s", true},
                   {"of roof", true},
                   {"cache", true}});
  for (const Row& row : rows) {
    const std::string test = row.batch > 1 ? fmt::format("{} x{}", row.test, row.batch) : row.test;
    table.add({test, fmt::format("{}", row.depth), format_number(row.tok_s),
               fmt::format("{}-{}", format_number(row.tok_s_min), format_number(row.tok_s_max)),
               format_number(row.gb_s), format_number(row.gmac_s), fmt::format("{:.0f}%", row.roof_share * 100),
               format_bytes(row.kv_bytes)});
  }
  return table.text();
}

uint32_t longest_sequence(const BenchCommand& command) {
  const uint32_t deepest = *std::max_element(command.depths.begin(), command.depths.end());
  if (command.batch > 1) {
    return std::max(deepest, 1u) + command.generate + early_steps(command.batch, deepest, command.model.chunk);
  }
  return deepest + std::max(command.prompt, command.generate) + 2;
}

Result<int> bench(const Console& console, const BenchCommand& command) {
  LOCI_TRY(const std::filesystem::path path, find_model(command.model.model, console));
  LOCI_TRY(const Isa isa, parse_isa(command.model.isa));
  ThreadPool pool(command.model.threads);  // of the roof; asleep while the engine's work
  const int threads = pool.size();
  LOCI_TRY(const Roof roof, measure_roof(pool, isa));
  EngineOptions options = engine_options(command.model);
  options.prefix_cache = false;  // repetitions must not profit from each other
  options.batch = command.batch;
  if (options.context == 0) options.context = longest_sequence(command);
  const double begin = seconds_now();
  LOCI_TRY(Engine engine, load_engine(path, options, console));
  const double load_seconds = seconds_now() - begin;
  LOCI_TRY(const std::vector<Row> rows, Bench(engine, command, roof, pool, isa, console).rows());
  if (command.json) {
    console.write_json(rows_json(rows, engine.info(), roof, threads, load_seconds));
    return kExitOk;
  }
  console.print("{}, {}, {} threads, loaded in {:.2f} s. Roof: read {} GB/s ({} with one thread), {}\n\n{}",
                engine.info().name, engine.info().attention, threads, load_seconds,
                format_number(roof.read_bytes_per_second / 1e9),
                format_number(roof.read_one_thread_bytes_per_second / 1e9), compute_rates(roof), rows_table(rows));
  return kExitOk;
}

}  // namespace

void add_bench(const Command& app, Choice& choice) {
  auto options = std::make_shared<BenchCommand>();
  const Command command = app.add_command(
      "bench",
      "Measure how fast a model reads a prompt (prefill) and writes (decode) after --depth earlier\n"
      "tokens, on random tokens, and the machine's roof beside it: int8 and fp32 multiply-accumulates\n"
      "first, read bandwidth before and after each test, of which the better counts. GB/s and GMAC/s\n"
      "count what must be read and multiplied at least. \"of roof\" is, for decode, GB/s over the read\n"
      "bandwidth; for prefill, the time that the projections would take at the int8 roof and attention\n"
      "at that of bf16 (int16 with AVX2, fp32 where no kernel uses either), over the time it took.\n"
      "Of all repetitions the median counts. With --batch N, N sequences of each depth write at once\n"
      "and the tokens of all are counted.",
      "  loci bench -m smollm2 --threads 2\n"
      "  loci bench -m smollm2 --batch 16 --depth 1024 --gen 64\n"
      "  loci bench -m smollm2 --prompt 512 --gen 64 --depth 0,4096,7000 --attention store=kv4 --json\n");
  add_model_options(command, options->model);
  command.add_option("--prompt", options->prompt, "Tokens of the prefill test; 0: none")
      .shows_default()
      .range(0u, 1u << 24)
      .type("N");
  command.add_option("--gen", options->generate, "Steps of the decode test; 0: none")
      .shows_default()
      .range(0u, 1u << 24)
      .type("N");
  command.add_option("--depth", options->depths, "Tokens in the cache before a test, one or several")
      .separator(',')
      .default_text("0")
      .range(0u, 1u << 28)
      .type("D,...");
  command.add_option("--batch", options->batch, "Sequences that write at once; more than 1: only the decode test")
      .shows_default()
      .range(1u, 1024u)
      .type("N");
  command.add_option("--reps", options->repetitions, "Repetitions of each test")
      .shows_default()
      .range(1u, 1000u)
      .type("R");
  command.add_option("--seed", options->seed, "Seed of the random tokens").shows_default().type("S");
  command.add_flag("--json", options->json,
                   "Print an array of rows: test, depth, batch, tok_s, gb_s, gmac_s, roof_share, kv_bytes,\n"
                   "attention, threads, load_s, roof_gb_s, roof_one_thread_gb_s, roof_int8_gmac_s, roof_f32_gmac_s,\n"
                   "roof_bf16_gmac_s, roof_int16_gmac_s (0 where no kernel uses them)");
  // `loci bench attention` needs no model.
  const Option model = command.option("--model").required(false);
  add_bench_attention(command, choice);
  add_bench_serve(command, choice);
  set_action(command, choice, options, bench, [model] { require_options({model}, 1, 1); });
}

}  // namespace loci

// loci bench: speed of reading and writing at several depths, beside what the machine could do at best.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

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
  uint32_t repetitions = 3;
  uint64_t seed = 0;
  bool json = false;
};

struct Row {
  std::string test;
  uint32_t depth = 0;
  double tok_s = 0;
  double tok_s_min = 0;
  double tok_s_max = 0;
  double gb_s = 0;
  double gmac_s = 0;
  double roof_share = 0;
  uint64_t kv_bytes = 0;
};

// What one repetition measured.
struct Sample {
  double seconds = 0;
  uint64_t kv_bytes = 0;
};

class Bench {
 public:
  Bench(Engine& engine, const BenchCommand& command, const Roof& roof, const Console& console)
      : engine_(engine), command_(command), roof_(roof), console_(console), random_(command.seed) {}

  Result<std::vector<Row>> rows() {
    std::vector<Row> out;
    for (const uint32_t depth : command_.depths) {
      LOCI_TRY(const Session base, session_of(depth));
      if (command_.prompt > 0) {
        LOCI_TRY(Row row, prefill_row(base, depth));
        out.push_back(std::move(row));
      }
      if (command_.generate > 0) {
        LOCI_TRY(Row row, decode_row(base, depth));
        out.push_back(std::move(row));
      }
    }
    return out;
  }

 private:
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

  // A session that holds `depth` tokens. Every repetition forks it, so the depth is read once.
  Result<Session> session_of(uint32_t depth) {
    LOCI_TRY(Session session, engine_.open_session());
    if (depth == 0) return session;
    LOCI_CHECK(feed(session, depth, 1, fmt::format("reaching depth {}", depth)));
    LOCI_CHECK(session.trim(depth));
    return session;
  }

  Result<Row> prefill_row(const Session& base, uint32_t depth) {
    std::vector<Sample> samples;
    for (uint32_t i = 0; i < command_.repetitions; ++i) {
      LOCI_TRY(Session session, base.fork());
      LOCI_TRY(const Completion done, feed(session, command_.prompt, 1, fmt::format("prefill at {}", depth)));
      samples.push_back({done.prefill_seconds, done.kv_bytes});
    }
    const Workload work = prefill_workload(engine_.info(), command_.prompt, depth, command_.model.chunk);
    Row row = row_of("prefill", depth, command_.prompt, samples, work);
    row.roof_share = prefill_roof_share(work, roof_, command_.model.activations == "f32", command_.prompt / row.tok_s);
    return row;
  }

  Result<Row> decode_row(const Session& base, uint32_t depth) {
    std::vector<Sample> samples;
    for (uint32_t i = 0; i < command_.repetitions; ++i) {
      LOCI_TRY(Session session, base.fork());
      // The prompt's pass gives the first token; the steps after it are what counts.
      LOCI_TRY(const Completion done, feed(session, 1, command_.generate + 1, fmt::format("decode at {}", depth)));
      samples.push_back({done.decode_seconds, done.kv_bytes});
    }
    const Workload work = decode_workload(engine_.info(), command_.generate, depth + 1);
    Row row = row_of("decode", depth, command_.generate, samples, work);
    row.roof_share = decode_roof_share(work, roof_, command_.generate / row.tok_s);
    return row;
  }

  // The median repetition stands for all.
  static Row row_of(const char* test, uint32_t depth, uint32_t tokens, std::vector<Sample> samples,
                    const Workload& work) {
    std::sort(samples.begin(), samples.end(), [](const Sample& a, const Sample& b) { return a.seconds < b.seconds; });
    const Sample& median = samples[samples.size() / 2];
    const auto rate = [&](double amount, const Sample& s) { return amount / std::max(s.seconds, 1e-9); };
    Row row;
    row.test = test;
    row.depth = depth;
    row.tok_s = rate(tokens, median);
    row.tok_s_min = rate(tokens, samples.back());
    row.tok_s_max = rate(tokens, samples.front());
    row.gb_s = rate(work.bytes / 1e9, median);
    row.gmac_s = rate((work.linear_macs + work.attention_macs) / 1e9, median);
    row.kv_bytes = median.kv_bytes;
    return row;
  }

  Engine& engine_;
  const BenchCommand& command_;
  Roof roof_;
  const Console& console_;
  std::mt19937_64 random_;
};

nlohmann::ordered_json rows_json(const std::vector<Row>& rows, const ModelInfo& info, const Roof& roof, int threads) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    out.push_back({{"test", row.test},
                   {"depth", row.depth},
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
                   {"roof_gb_s", roof.read_bytes_per_second / 1e9},
                   {"roof_int8_gmac_s", roof.int8_macs_per_second / 1e9},
                   {"roof_f32_gmac_s", roof.f32_macs_per_second / 1e9}});
  }
  return out;
}

std::string rows_table(const std::vector<Row>& rows) {
  Table table({{"test"},
               {"depth", true},
               {"tok/s", true},
               {"min-max", true},
               {"GB/s", true},
               {"GMAC/s", true},
               {"of roof", true},
               {"cache", true}});
  for (const Row& row : rows) {
    table.add({row.test, fmt::format("{}", row.depth), format_number(row.tok_s),
               fmt::format("{}-{}", format_number(row.tok_s_min), format_number(row.tok_s_max)),
               format_number(row.gb_s), format_number(row.gmac_s), fmt::format("{:.0f}%", row.roof_share * 100),
               format_bytes(row.kv_bytes)});
  }
  return table.text();
}

// Before the engine starts: its threads would take part of the machine.
Result<Roof> roof_of(const BenchCommand& command, int& threads) {
  LOCI_TRY(const Isa isa, parse_isa(command.model.isa));
  ThreadPool pool(command.model.threads);
  threads = pool.size();
  return measure_roof(pool, isa);
}

Result<int> bench(const Console& console, const BenchCommand& command) {
  LOCI_TRY(const std::filesystem::path path, find_model(command.model.model, console));
  int threads = 1;
  LOCI_TRY(const Roof roof, roof_of(command, threads));
  EngineOptions options = engine_options(command.model);
  options.prefix_cache = false;  // repetitions must not profit from each other
  const uint32_t deepest = *std::max_element(command.depths.begin(), command.depths.end());
  if (options.context == 0) options.context = deepest + std::max(command.prompt, command.generate) + 2;
  LOCI_TRY(Engine engine, load_engine(path, options, console));
  LOCI_TRY(const std::vector<Row> rows, Bench(engine, command, roof, console).rows());
  if (command.json) {
    console.write_json(rows_json(rows, engine.info(), roof, threads));
    return kExitOk;
  }
  console.print("{}, {}, {} threads. Roof: read {} GB/s, int8 {} GMAC/s, fp32 {} GMAC/s\n\n{}", engine.info().name,
                engine.info().attention, threads, format_number(roof.read_bytes_per_second / 1e9),
                format_number(roof.int8_macs_per_second / 1e9), format_number(roof.f32_macs_per_second / 1e9),
                rows_table(rows));
  return kExitOk;
}

}  // namespace

void add_bench(CLI::App& app, Choice& choice) {
  auto options = std::make_shared<BenchCommand>();
  CLI::App* command =
      add_command(app, "bench",
                  "Measure how fast a model reads a prompt (prefill) and writes (decode) after --depth earlier\n"
                  "tokens, on random tokens. The same command measures the machine's roof first: read bandwidth,\n"
                  "int8 and fp32 multiply-accumulates. GB/s and GMAC/s count what must be read and multiplied at\n"
                  "least. \"of roof\" is, for decode, GB/s over the read bandwidth; for prefill, the time that the\n"
                  "projections would take at the int8 roof and attention at the fp32 roof, over the time it took.\n"
                  "Of all repetitions the median counts.",
                  "  loci bench -m smollm2 --threads 2\n"
                  "  loci bench -m smollm2 --prompt 512 --gen 64 --depth 0,4096,7000 --attention store=kv4 --json\n");
  add_model_options(*command, options->model);
  command->add_option("--prompt", options->prompt, "Tokens of the prefill test; 0: none")
      ->capture_default_str()
      ->check(CLI::Range(0u, 1u << 24))
      ->type_name("N");
  command->add_option("--gen", options->generate, "Steps of the decode test; 0: none")
      ->capture_default_str()
      ->check(CLI::Range(0u, 1u << 24))
      ->type_name("N");
  command->add_option("--depth", options->depths, "Tokens in the cache before a test, one or several")
      ->delimiter(',')
      ->default_str("0")
      ->check(CLI::Range(0u, 1u << 28))
      ->type_name("D,...");
  command->add_option("--reps", options->repetitions, "Repetitions of each test")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1000u))
      ->type_name("R");
  command->add_option("--seed", options->seed, "Seed of the random tokens")->capture_default_str()->type_name("S");
  command->add_flag("--json", options->json,
                    "Print an array of rows: test, depth, tok_s, gb_s, gmac_s, roof_share, kv_bytes, attention,\n"
                    "threads, roof_gb_s, roof_int8_gmac_s, roof_f32_gmac_s");
  set_action(command, choice, options, bench);
}

}  // namespace loci

// loci eval perplexity: how well a model foresees a text.
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "cli/eval_commands.h"
#include "cli/model_header.h"
#include "cli/model_options.h"
#include "cli/table.h"
#include "cli/text_input.h"
#include "eval/position_curve.h"

namespace loci {
namespace {

struct PerplexityCommand {
  ModelOptions model;
  std::string file;
  std::string ids_file;
  uint32_t window = 0;
  uint32_t decode = 0;
  bool by_position = false;
  bool per_token = false;
  bool json = false;
};

Result<std::vector<TokenId>> tokens_to_score(const PerplexityCommand& command, const std::filesystem::path& path,
                                             const Console& console) {
  if (!command.ids_file.empty()) return read_ids(command.ids_file, console);
  LOCI_TRY(const std::string text, read_text(command.file, console));
  LOCI_TRY(const ModelHeader header, ModelHeader::open(path));
  return header.tokenizer().encode(text);
}

// Long enough for one window, and no longer: the cache is what costs memory.
uint32_t context_for(const PerplexityCommand& command, size_t tokens) {
  if (command.model.context > 0) return command.model.context;
  const size_t window = command.window > 0 ? std::min<size_t>(command.window, tokens) : tokens;
  return static_cast<uint32_t>(std::max<size_t>(window, 2));
}

double mean_of(const std::vector<TokenScore>& scores) {
  double sum = 0;
  for (const TokenScore& score : scores) sum += score.nll;
  return sum / static_cast<double>(scores.size());
}

std::vector<PositionBucket> curve_of(const std::vector<TokenScore>& scores, size_t tokens,
                                     const PerplexityCommand& command) {
  std::vector<float> nll;
  for (const TokenScore& score : scores) nll.push_back(score.nll);
  return position_curve(nll, scored_positions(tokens, command.window > 0 ? command.window : tokens, command.decode));
}

nlohmann::ordered_json score_json(const std::vector<TokenScore>& scores, const Engine& engine,
                                  const std::vector<PositionBucket>& curve, bool per_token) {
  const double mean = mean_of(scores);
  nlohmann::ordered_json out{
      {"mean_nll", mean}, {"ppl", std::exp(mean)}, {"tokens", scores.size()}, {"attention", engine.info().attention}};
  for (const PositionBucket& bucket : curve) out["positions"].push_back(to_json(bucket));
  if (!per_token) return out;
  nlohmann::ordered_json nll = nlohmann::ordered_json::array();
  nlohmann::ordered_json argmax = nlohmann::ordered_json::array();
  nlohmann::ordered_json gap = nlohmann::ordered_json::array();
  for (const TokenScore& score : scores) {
    nll.push_back(score.nll);
    argmax.push_back(score.argmax);
    gap.push_back(score.gap);
  }
  out["nll"] = std::move(nll);
  out["argmax"] = std::move(argmax);
  out["gap"] = std::move(gap);
  return out;
}

// The scores of the last `decode` tokens of each window, which has `window` tokens, the last one perhaps fewer.
std::vector<TokenScore> decoded_ones(const std::vector<TokenScore>& scores, size_t tokens, size_t window,
                                     size_t decode) {
  std::vector<TokenScore> out;
  size_t first = 0;  // of the window's scores, one fewer than its tokens
  for (size_t begin = 0; begin < tokens; begin += window) {
    const size_t count = std::min(window, tokens - begin) - 1;
    const size_t border = std::max(window - 1, decode) - decode;
    for (size_t i = std::min(border, count); i < count; ++i) out.push_back(scores[first + i]);
    first += count;
  }
  return out;
}

Result<std::vector<TokenScore>> score(Engine& engine, const std::vector<TokenId>& tokens,
                                      const PerplexityCommand& command, const Console& console) {
  const size_t window = command.window > 0 ? command.window : tokens.size();
  if (command.decode > 0 && uint64_t{command.decode} + 1 >= window) {
    return fail(ErrorCode::kInvalidArgument, "--decode {} leaves nothing to read before it in a window of {} tokens",
                command.decode, window);
  }
  ProgressBar bar("scoring", ProgressUnit::kTokens, console.err);
  ScoreOptions options;
  options.window = command.window;
  // The row that scores the first of them is the one before it.
  if (command.decode > 0) options.prompt_tokens = static_cast<uint32_t>(window) - command.decode - 1;
  options.cancelled = console.cancel_flag();
  options.on_progress = [&](const Progress& progress) { bar.update(progress.prompt_done, progress.prompt_total); };
  LOCI_TRY(std::vector<TokenScore> scores, engine.score(tokens, options));
  return command.decode == 0 ? scores : decoded_ones(scores, tokens.size(), window, command.decode);
}

void print_curve(const Console& console, const std::vector<PositionBucket>& curve) {
  TextTable table({{"positions", true}, {"tokens", true}, {"nats", true}, {"perplexity", true}});
  for (const PositionBucket& bucket : curve) {
    table.add({fmt::format("{}-{}", bucket.first, bucket.last), fmt::format("{}", bucket.tokens),
               fmt::format("{:.4f}", bucket.mean_nll), fmt::format("{:.3f}", std::exp(bucket.mean_nll))});
  }
  console.print("{}", table.text());
}

Result<int> perplexity(const Console& console, const PerplexityCommand& command) {
  LOCI_TRY(const std::filesystem::path path, find_model(command.model.model, console));
  LOCI_TRY(const std::vector<TokenId> tokens, tokens_to_score(command, path, console));
  EngineOptions options = engine_options(command.model);
  options.context = context_for(command, tokens.size());
  options.prefix_cache = false;  // nothing is asked twice
  LOCI_TRY(Engine engine, load_engine(path, options, console));
  LOCI_TRY(const std::vector<TokenScore> scores, score(engine, tokens, command, console));
  if (scores.empty()) {
    return fail(ErrorCode::kInvalidArgument, "the text has {} token(s): at least 2 are needed to predict one",
                tokens.size());
  }
  std::vector<PositionBucket> curve;
  if (command.by_position) curve = curve_of(scores, tokens.size(), command);
  if (command.json) {
    console.write_json(score_json(scores, engine, curve, command.per_token));
    return kExitOk;
  }
  const double mean = mean_of(scores);
  console.print("perplexity {:.4f}   mean negative log-likelihood {:.5f} nats   {} tokens   {}\n", std::exp(mean), mean,
                scores.size(), engine.info().attention);
  if (command.by_position) print_curve(console, curve);
  if (!command.per_token) return kExitOk;
  for (const TokenScore& token : scores) console.print("{:.5f} {} {:.5f}\n", token.nll, token.argmax, token.gap);
  return kExitOk;
}

}  // namespace

void add_eval_perplexity(const Command& eval, Choice& choice) {
  auto options = std::make_shared<PerplexityCommand>();
  const Command command = eval.add_command(
      "perplexity",
      "Feed a text to the model and measure how well it foresees each token: the mean negative\n"
      "log-likelihood in nats, and its exponential, the perplexity. A text longer than the window is\n"
      "cut into windows that do not overlap, each read anew; the first token of a window predicts\n"
      "nothing. --per-token adds, for each predicted token, its negative log-likelihood (nll), the\n"
      "token the model held most likely (argmax) and how far that one is ahead of the second (gap).\n"
      "--decode reads the end of each window one token at a time, as an answer is, so that what a\n"
      "plan does in decode steps shows; then only these tokens are scored. --by-position adds the means\n"
      "of stretches of positions, each twice as long as the one before.",
      "  loci eval perplexity -m smollm2 -f book.txt --window 2048\n"
      "  loci eval perplexity -m smollm2 -f book.txt --window 2048 --attention store=kv4 --json\n"
      "  loci eval perplexity -m needle --tokens ids.json --per-token --json\n"
      "  loci eval perplexity -m needle -f book.txt --window 8192 --decode 256 --attention store=kv4\n"
      "  loci eval perplexity -m needle -f book.txt --window 8192 --by-position --attention streaming\n");
  add_model_options(command, options->model);
  const std::vector<Option> inputs{
      command.add_option("-f,--file", options->file, "The text; - reads standard input").type("FILE"),
      command.add_option("--tokens", options->ids_file, "A JSON array of token ids, taken as they are")
          .type("IDS.json")};
  for (const Option input : inputs) input.group("Input (one of these)");
  command.add_option("--window", options->window, "Tokens read together; 0: the whole text").shows_default().type("N");
  command.add_option("--decode", options->decode, "Score only the last N tokens of each window, as decode steps")
      .type("N");
  command.add_flag("--by-position", options->by_position, "Report means by where in their window the tokens stand");
  command.add_flag("--per-token", options->per_token, "Report every predicted token");
  command.add_flag("--json", options->json,
                   "Print one JSON object: mean_nll, ppl, tokens, positions, nll, argmax, gap");
  set_action(command, choice, options, perplexity, [inputs] { require_options(inputs, 1, 1); });
}

}  // namespace loci

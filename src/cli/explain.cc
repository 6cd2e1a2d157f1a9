// loci explain: what each head kept, read and skipped, as pictures.
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "base/progress.h"
#include "base/quantity.h"
#include "cli/commands.h"
#include "cli/document_request.h"
#include "cli/explain_page.h"
#include "cli/sampling_options.h"

namespace loci {
namespace {

struct ExplainCommand {
  ModelOptions model;
  SamplingOptions sampling;
  DocumentInput input;
  int layer = -1;
  int head = -1;
  ExplainOptions options;
  std::string output;
  bool json = false;
};

Status check_heads(const ExplainCommand& command, const ModelInfo& info) {
  const auto check = [&](const char* option, int value, uint32_t count) -> Status {
    if (value < static_cast<int>(count)) return {};
    return fail(ErrorCode::kInvalidArgument, "{} is {}, but the model has {} (0..{})", option, value, count, count - 1);
  };
  LOCI_CHECK(check("--layer", command.layer, info.layers));
  return check("--head", command.head, info.kv_heads);
}

Result<Explanation> watch(Engine& engine, const ExplainCommand& command, DocumentPrompt prompt,
                          const Console& console) {
  ProgressBar bar("reading", ProgressUnit::kTokens, console.err);
  Request request;
  request.prompt = std::move(prompt.tokens);
  request.spans = std::move(prompt.spans);
  request.max_new_tokens = command.sampling.max_new_tokens;
  request.sampling = command.sampling.sampling;
  request.stop = command.sampling.stop;
  request.cancelled = console.cancel_flag();
  request.on_progress = [&](const Progress& progress) {
    if (progress.generated == 0) bar.update(progress.prompt_done, progress.prompt_total);
  };
  return engine.explain(request, command.options);
}

nlohmann::ordered_json coverage_json(const HeadCoverage& coverage) {
  return {{"mass", coverage.mass}, {"error", coverage.error}, {"queries", coverage.queries}};
}

nlohmann::ordered_json explanation_json(const Explanation& explained, const ModelInfo& info) {
  nlohmann::ordered_json heads = nlohmann::ordered_json::array();
  for (const HeadPicture& head : explained.heads) {
    heads.push_back({{"layer", head.layer},
                     {"kv_head", head.kv_head},
                     {"kept", head.kept},
                     {"in_prompt", head.in_prompt},
                     {"in_decode", head.in_decode}});
    if (head.prompt_coverage.queries == 0) continue;
    heads.back()["prompt_coverage"] = coverage_json(head.prompt_coverage);
    heads.back()["decode_coverage"] = coverage_json(head.decode_coverage);
  }
  return {{"model", info.name},
          {"attention", info.attention},
          {"text", explained.completion.text},
          {"prompt_tokens", explained.completion.prompt_tokens},
          {"generated_tokens", explained.completion.tokens.size()},
          {"tokens", explained.tokens},
          {"stretches", explained.stretches},
          {"kv_bytes", explained.completion.kv_bytes},
          {"kept_tokens", explained.completion.kept_tokens},
          {"heads", std::move(heads)}};
}

Result<int> explain(const Console& console, const ExplainCommand& command) {
  LOCI_TRY(OpenDocument open, open_document(console, command.model, command.input, command.sampling.max_new_tokens));
  LOCI_CHECK(check_heads(command, open.engine.info()));
  LOCI_TRY(Explanation explained, watch(open.engine, command, std::move(open.prompt), console));
  std::erase_if(explained.heads, [&](const HeadPicture& head) {
    return (command.layer >= 0 && head.layer != static_cast<uint32_t>(command.layer)) ||
           (command.head >= 0 && head.kv_head != static_cast<uint32_t>(command.head));
  });
  const nlohmann::ordered_json json = explanation_json(explained, open.engine.info());
  if (!command.output.empty()) {
    std::ofstream file(command.output, std::ios::binary | std::ios::trunc);
    file << explain_page(json);
    if (!file.flush()) return fail(ErrorCode::kIo, "'{}' cannot be written", command.output);
    console.note("[{} heads of {} tokens under {}: {}]", explained.heads.size(), explained.tokens,
                 open.engine.info().attention, command.output);
  }
  if (command.json) console.write_json(json);
  return explained.completion.finish == Finish::kCancelled ? kExitInterrupted : kExitOk;
}

}  // namespace

void add_explain(const Command& app, Choice& choice) {
  auto options = std::make_shared<ExplainCommand>();
  const Command command = app.add_command(
      "explain",
      "Show what a plan does with a document: for every KV head of every layer, which stretches of the\n"
      "sequence it keeps at the end, and what share of what they could see the prompt's queries and the\n"
      "generated tokens read. -o writes one HTML page that needs nothing else, --json prints the numbers.",
      "  loci explain -m gemma3 -f book.txt -p 'Who is Ahab?' --attention snapkv -o snapkv.html\n"
      "  loci explain -m needle --raw -f book.txt -n 8 --attention 'streaming; store=kv4' -o out.html\n"
      "  loci explain -m needle --raw -f book.txt --layer 4 --head 0 --json\n"
      "  loci explain -m needle --raw -f book.txt -n 8 --attention 'select=prefill:anchor' --coverage -o out.html\n");
  add_model_options(command, options->model);
  const DocumentOptions input = add_document_options(command, options->input);
  add_sampling_options(command, options->sampling);
  command.add_option("--layer", options->layer, "Only this layer")
      .not_negative()
      .type("L")
      .default_text("all")
      .group("Picture");
  command.add_option("--head", options->head, "Only this KV head")
      .not_negative()
      .type("H")
      .default_text("all")
      .group("Picture");
  command.add_option("--stretches", options->options.stretches, "Equal stretches that the sequence is cut into")
      .type("N")
      .shows_default()
      .group("Picture");
  command
      .add_flag("--coverage", options->options.coverage,
                "Beside each read also read all that the head keeps, and tell what share of that attention\n"
                "the plan's reads hold and how far their output is off; as slow as dense")
      .group("Picture");
  const Option output = command.add_option("-o,--output", options->output, "The page to write");
  output.type("FILE").group("Picture");
  const Option json = command.add_flag("--json", options->json,
                                       "Print one JSON object: model, attention, text, prompt_tokens,\n"
                                       "generated_tokens, tokens, stretches, kv_bytes, kept_tokens, heads");
  set_action(command, choice, options, explain, [input, output, json] {
    require_options({input.file, input.prompt}, 1, 2);
    require_options({output, json}, 1, 2);
  });
}

}  // namespace loci

// loci tokenize: text to token ids and back. Needs only a model's vocabulary.
#include <memory>
#include <nlohmann/json.hpp>
#include <span>

#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/table.h"
#include "cli/terminal_text.h"
#include "cli/text_input.h"
#include "io/model_file.h"
#include "text/tokenizer.h"

namespace loci {
namespace {

struct TokenizeCommand {
  std::string model;
  std::string text;
  std::string file;
  std::string ids_file;
  bool no_special = false;
  bool json = false;
};

// Without the BOS and EOS that encoding adds by itself: what is left decodes to the text that was encoded.
Result<std::span<const TokenId>> without_added(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  LOCI_TRY(const std::vector<TokenId> added, tokenizer.encode(""));
  const bool adds_bos = !added.empty() && added.front() == tokenizer.bos();
  const bool adds_eos = !added.empty() && added.back() == tokenizer.eos() && added.size() > (adds_bos ? 1 : 0);
  if (adds_bos && !ids.empty() && ids.front() == tokenizer.bos()) ids = ids.subspan(1);
  if (adds_eos && !ids.empty() && ids.back() == tokenizer.eos()) ids = ids.first(ids.size() - 1);
  return ids;
}

Result<int> decode_ids(const Tokenizer& tokenizer, const TokenizeCommand& options, const Console& console) {
  LOCI_TRY(const std::vector<TokenId> ids, read_ids(options.ids_file, console));
  const bool special = !options.no_special;
  std::span<const TokenId> wanted = ids;
  if (special) {
    LOCI_TRY(wanted, without_added(tokenizer, ids));
  }
  LOCI_TRY(const std::string text, tokenizer.decode(wanted, special));
  if (options.json) {
    console.write_json({{"text", text}, {"tokens", ids.size()}});
  } else {
    console.write_foreign(text);
  }
  return kExitOk;
}

Result<int> print_pieces(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, const Console& console) {
  TextTable table({{"id", true}, {"piece"}});
  for (const TokenId id : ids) {
    LOCI_TRY(const std::string piece, tokenizer.piece(id, true));
    table.add({fmt::format("{}", id), fmt::format("'{}'", terminal_text(piece))});
  }
  console.write(table.text());
  console.note("{} tokens", ids.size());
  return kExitOk;
}

Result<int> tokenize(const Console& console, const TokenizeCommand& options) {
  LOCI_TRY(const std::filesystem::path path, find_model(options.model, console));
  LOCI_TRY(const std::unique_ptr<ModelFile> file, open_model_file(path));
  LOCI_TRY(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::load(*file));
  if (!options.ids_file.empty()) return decode_ids(*tokenizer, options, console);

  std::string text = options.text;
  if (!options.file.empty()) {
    LOCI_TRY(text, read_text(options.file, console));
  }
  const EncodeOptions encoding{.add_special = !options.no_special, .parse_special = !options.no_special};
  LOCI_TRY(const std::vector<TokenId> ids, tokenizer->encode(text, encoding));
  if (!options.json) return print_pieces(*tokenizer, ids, console);
  console.print("{}\n", nlohmann::ordered_json{{"ids", ids}}.dump());
  return kExitOk;
}

}  // namespace

void add_tokenize(const Command& app, Choice& choice) {
  auto options = std::make_shared<TokenizeCommand>();
  const Command command =
      app.add_command("tokenize",
                      "Turn text into a model's token ids, or ids back into text. Without --json every token is\n"
                      "printed with its text. The model may be a GGUF file that holds only a vocabulary.",
                      "  loci tokenize -m smollm2 -p 'Call me Ishmael.'\n"
                      "  loci tokenize -m smollm2 -f book.txt --json > ids.json\n"
                      "  loci tokenize -m smollm2 --decode ids.json\n");
  add_model_option(command, options->model);
  const std::vector<Option> inputs{
      command.add_option("-p,--prompt", options->text, "The text").type("TEXT"),
      command.add_option("-f,--file", options->file, "A file with the text; - reads standard input").type("FILE"),
      command.add_option("--decode", options->ids_file, "A JSON array of token ids to turn back into text")
          .type("IDS.json")};
  for (const Option input : inputs) input.group("Input (one of these)");
  command.add_flag(
      "--no-special", options->no_special,
      "Add no BOS or EOS, and read the text of special tokens as plain text; with --decode, leave them out");
  command.add_flag("--json", options->json, "Print {\"ids\": [...]}, or {\"text\", \"tokens\"} with --decode");
  set_action(command, choice, options, tokenize, [inputs] { require_options(inputs, 1, 1); });
}

}  // namespace loci

// loci chat: a conversation. The cache keeps what was said; each turn feeds only what is new.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/progress.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/model_header.h"
#include "cli/model_options.h"
#include "cli/sampling_options.h"

namespace loci {
namespace {

constexpr uint32_t kDefaultContext = 8192;

constexpr const char* kHelp =
    "/reset        forget the conversation\n"
    "/save FILE    write the conversation and its cache to FILE (and FILE.json)\n"
    "/load FILE    go on with a saved conversation\n"
    "/help         this text\n"
    "/exit         leave (so does the end of the input)\n"
    "Ctrl-C ends an answer; at the prompt it leaves.\n";

struct ChatCommand {
  ModelOptions model;
  SamplingOptions sampling;
  std::string system;
  bool json = false;  // none: a conversation is for people
};

// One line of console.in without its newline; empty at the end of the input or on Ctrl-C.
std::optional<std::string> read_line(const Console& console) {
  std::string line;
  for (int c = std::fgetc(console.in); c != EOF; c = std::fgetc(console.in)) {
    if (c == '\n') return line;
    line += static_cast<char>(c);
  }
  if (line.empty() || console.cancelled()) return std::nullopt;
  return line;
}

// What "/name rest" asks for; false ends the conversation.
bool obey(const std::string& line, Conversation& conversation, const Console& console) {
  const size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  const std::string rest = space == std::string::npos ? std::string() : line.substr(space + 1);
  if (name == "/exit" || name == "/quit") return false;
  Status status;
  if (name == "/help") {
    console.write(kHelp);
  } else if (name == "/reset") {
    status = conversation.reset();
  } else if ((name == "/save" || name == "/load") && !rest.empty()) {
    status = name == "/save" ? conversation.save(rest) : conversation.load(rest);
    if (status.ok()) console.note("[{} turns, {} tokens]", conversation.turns(), conversation.tokens());
  } else {
    console.note("loci: no command '{}': /help lists them", line);
  }
  if (!status.ok()) console.report(status.error(), false);
  return true;
}

Request turn_request(const ChatCommand& command, ProgressBar& bar, const Console& console) {
  Request request;
  request.max_new_tokens = command.sampling.max_new_tokens;
  request.sampling = command.sampling.sampling;
  request.stop = command.sampling.stop;
  request.cancelled = console.cancel_flag();
  request.on_progress = [&bar](const Progress& progress) {
    if (progress.generated == 0) bar.update(progress.prompt_done, progress.prompt_total);
  };
  request.on_text = [&bar, &console](std::string_view text) {
    bar.clear();
    console.write_foreign(text);
  };
  return request;
}

void answer(const std::string& line, Conversation& conversation, const ChatCommand& command, const Console& console) {
  ProgressBar bar("reading", ProgressUnit::kTokens, console.err);
  const Result<Completion> done = conversation.say(line, turn_request(command, bar, console));
  bar.clear();
  if (!done.ok()) {
    console.report(done.error(), false);
    if (done.error().code == ErrorCode::kLimit) console.note("/reset makes room");
  } else {
    console.write("\n");
    if (done->finish == Finish::kLength) console.note("[cut after {} tokens: -n allows more]", done->tokens.size());
  }
  console.interrupts->clear();
}

void converse(Conversation& conversation, const ChatCommand& command, const Console& console) {
  const bool people = isatty(fileno(console.in)) == 1;
  for (;;) {
    if (people) console.write("> ");
    const std::optional<std::string> line = read_line(console);
    if (!line) {
      if (people) console.write("\n");
      return;
    }
    if (line->empty()) continue;
    if (line->front() == '/') {
      if (!obey(*line, conversation, console)) return;
    } else {
      answer(*line, conversation, command, console);
    }
  }
}

Result<int> chat(const Console& console, const ChatCommand& command) {
  LOCI_TRY(const std::filesystem::path path, find_model(command.model.model, console));
  EngineOptions options = engine_options(command.model);
  if (options.context == 0) {
    LOCI_TRY(const ModelHeader header, ModelHeader::open(path));
    options.context = std::min(kDefaultContext, header.trained_context());
  }
  LOCI_TRY(Engine engine, load_engine(path, options, console));
  const ModelInfo& info = engine.info();
  if (!info.has_chat_template) {
    return fail(ErrorCode::kUnsupported,
                "model '{}' has no chat template and cannot chat: use 'loci run --raw' to complete text", info.name);
  }
  LOCI_TRY(Conversation conversation, Conversation::open(engine, command.system));
  console.note("{}, {} tokens of context, {}. /help lists the commands.", info.name, info.context, info.attention);
  converse(conversation, command, console);
  return console.cancelled() ? kExitInterrupted : kExitOk;
}

}  // namespace

void add_chat(const Command& app, Choice& choice) {
  auto options = std::make_shared<ChatCommand>();
  options->sampling.max_new_tokens = 1024;
  const Command command =
      app.add_command("chat",
                      "Talk to a model. What was said stays in the cache, so a turn costs only its own tokens. The\n"
                      "conversation can be saved with its cache and taken up later. Lines come from standard input,\n"
                      "so a script can be piped in. /help inside lists the commands.",
                      "  loci chat -m smollm2\n"
                      "  loci chat -m smollm2 --system 'You answer in one sentence.' --temp 0.7\n"
                      "  printf 'Hello\\nWhat did I just say?\\n' | loci chat -m smollm2\n");
  add_model_options(command, options->model);
  command.add_option("--system", options->system, "Instruction that stands before the conversation").type("TEXT");
  add_sampling_options(command, options->sampling);
  set_action(command, choice, options, chat);
}

}  // namespace loci

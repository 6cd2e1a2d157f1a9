#include "cli/model_options.h"

#include <memory>
#include <optional>

#include "base/progress.h"
#include "base/quantity.h"
#include "cli/terminal_text.h"

namespace loci {
namespace {

constexpr const char* kModelGroup = "Model";
constexpr const char* kEngineGroup = "Memory and speed";

// One bar per transfer: a model may come in several parts.
class FetchBar {
 public:
  explicit FetchBar(std::FILE* out) : out_(out) {}
  void update(std::string_view what, uint64_t done, uint64_t total) {
    if (what != what_ || !bar_) {
      what_ = what;
      bar_.emplace(terminal_text(what), ProgressUnit::kBytes, out_);
    }
    bar_->update(done, total);
  }

 private:
  std::FILE* out_;
  std::string what_;
  std::optional<ProgressBar> bar_;
};

}  // namespace

void add_model_option(const Command& command, std::string& model) {
  command.add_option("-m,--model", model, "Model: a name ('loci pull --list'), a GGUF file or a Hugging Face folder")
      .required()
      .type("MODEL")
      .group(kModelGroup);
}

Option add_bytes_option(const Command& command, const char* name, uint64_t& bytes, const char* help) {
  const auto read = [&bytes](const std::string& word) {
    const Result<uint64_t> parsed = parse_bytes(word);
    if (!parsed.ok()) throw UsageError(parsed.error().message);
    bytes = *parsed;
  };
  return command.add_option_function(name, read, help).type("SIZE");
}

void add_model_options(const Command& command, ModelOptions& options) {
  add_model_option(command, options.model);
  command
      .add_option(
          "--attention", options.attention,
          "Plan: what is kept, stored, read and mixed: dense, or e.g. store=kv4,kv8@0-1; 'loci methods' explains")
      .shows_default()
      .type("PLAN")
      .group(kModelGroup);
  command.add_option("--ctx", options.context, "Tokens one sequence may hold; 0 lets the command choose")
      .shows_default()
      .type("N")
      .group(kEngineGroup);
  command.add_option("--chunk", options.chunk, "Prompt tokens per forward pass; the result is the same for every chunk")
      .shows_default()
      .range(1u, 65536u)
      .type("N")
      .group(kEngineGroup);
  command.add_option("--threads", options.threads, "Worker threads; 0: one for each core this process may use")
      .shows_default()
      .range(0, 1024)
      .type("N")
      .group(kEngineGroup);
  command.add_option("--isa", options.isa, "Instruction set of the kernels: auto, scalar, avx2, avx512, amx")
      .shows_default()
      .one_of({"auto", "scalar", "avx2", "avx512", "amx"})
      .type("ISA")
      .group(kEngineGroup);
  command
      .add_option("--activations", options.activations,
                  "int16: activations in up to 16 bits, where columns stick out of their block; int8: 8 bits, coarser; "
                  "f32: everything in fp32, slow, the yardstick")
      .shows_default()
      .one_of({"int16", "int8", "f32"})
      .type("TYPE")
      .group(kEngineGroup);
  add_bytes_option(command, "--memory-limit", options.memory_limit_bytes,
                   "Refuse to use more memory than this (4G, 512M); default: what the machine has free")
      .group(kEngineGroup);
  command.add_flag("--no-prefix-cache", options.no_prefix_cache, "Do not reuse the cache of earlier prompts")
      .group(kEngineGroup);
}

EngineOptions engine_options(const ModelOptions& options) {
  EngineOptions out;
  out.threads = options.threads;
  out.context = options.context;
  out.chunk = options.chunk;
  out.attention = options.attention;
  out.isa = options.isa;
  out.activations = options.activations;
  out.memory_limit_bytes = options.memory_limit_bytes;
  out.prefix_cache = !options.no_prefix_cache;
  return out;
}

StoreOptions store_options(const Console& console) {
  StoreOptions out;
  out.cancelled = console.cancel_flag();
  out.on_progress = [bar = std::make_shared<FetchBar>(console.err)](std::string_view what, uint64_t done,
                                                                    uint64_t total) { bar->update(what, done, total); };
  return out;
}

Result<std::filesystem::path> find_model(const std::string& model, const Console& console) {
  return resolve_model(model, store_options(console));
}

Result<Engine> load_engine(const std::filesystem::path& path, EngineOptions options, const Console& console) {
  ProgressBar bar("loading", ProgressUnit::kShare, console.err);
  options.on_load = [&](double share) {
    bar.update(static_cast<uint64_t>(share * 1000), 1000);
    return !console.cancelled();
  };
  return Engine::load(path.string(), options);
}

}  // namespace loci

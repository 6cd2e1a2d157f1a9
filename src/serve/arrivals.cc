#include "serve/arrivals.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>

#include "io/bounded_json.h"

namespace loci {

using nlohmann::ordered_json;

namespace {

constexpr int kVersion = 1;
constexpr size_t kMostDifferences = 10;
constexpr size_t kMostLineBytes = size_t{64} << 20;

ordered_json json_of(const Request& request) {
  const Sampling& s = request.sampling;
  ordered_json biases = ordered_json::array();
  for (const LogitBias& bias : s.logit_bias) biases.push_back({bias.token, bias.bias});
  ordered_json spans = ordered_json::array();
  for (const LabelledSpan& span : request.spans) spans.push_back({span.label, span.first, span.count});
  return {{"prompt", request.prompt},
          {"max_new_tokens", request.max_new_tokens},
          {"temperature", s.temperature},
          {"top_k", s.top_k},
          {"top_p", s.top_p},
          {"min_p", s.min_p},
          {"repetition_penalty", s.repetition_penalty},
          {"presence_penalty", s.presence_penalty},
          {"frequency_penalty", s.frequency_penalty},
          {"logit_bias", biases},
          {"seed", s.seed},
          {"stop", request.stop},
          {"ignore_eos", request.ignore_eos},
          {"spans", spans},
          {"salt", request.salt},
          {"task", request.task},
          {"constrained", request.constraint != nullptr}};
}

// Throws what nlohmann throws where the line is not as json_of writes it.
Request request_of(const ordered_json& line) {
  Request out;
  out.prompt = line.at("prompt").get<std::vector<TokenId>>();
  out.max_new_tokens = line.at("max_new_tokens");
  Sampling& s = out.sampling;
  s.temperature = line.at("temperature");
  s.top_k = line.at("top_k");
  s.top_p = line.at("top_p");
  s.min_p = line.at("min_p");
  s.repetition_penalty = line.at("repetition_penalty");
  s.presence_penalty = line.at("presence_penalty");
  s.frequency_penalty = line.at("frequency_penalty");
  for (const ordered_json& bias : line.at("logit_bias")) s.logit_bias.push_back({bias.at(0), bias.at(1)});
  s.seed = line.at("seed");
  out.stop = line.at("stop").get<std::vector<std::string>>();
  out.ignore_eos = line.at("ignore_eos");
  for (const ordered_json& span : line.at("spans")) out.spans.push_back({span.at(0), span.at(1), span.at(2)});
  out.salt = line.at("salt");
  out.task = line.at("task");
  return out;
}

ordered_json json_of(const StepReport& report) { return {report.decode_rows, report.prompt_rows, report.preempted}; }

ordered_json json_of(const Result<Completion>& done) {
  if (!done.ok()) return {{"error", to_string(done.error().code)}};
  return {{"finish", to_string(done->finish)}, {"tokens", done->tokens}};
}

}  // namespace

Result<std::unique_ptr<ArrivalRecord>> ArrivalRecord::create(const std::string& path, const LoadedModel& model,
                                                             const EngineOptions& options) {
  // Others of this machine may not read it: it holds the prompts.
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  std::FILE* const file = descriptor < 0 || ::fchmod(descriptor, 0600) != 0 ? nullptr : ::fdopen(descriptor, "w");
  if (file == nullptr && descriptor >= 0) ::close(descriptor);
  if (file == nullptr) return fail(ErrorCode::kIo, "cannot write the record '{}': {}", path, std::strerror(errno));
  std::unique_ptr<ArrivalRecord> out(new ArrivalRecord(file));
  const EngineLayout& layout = model.core->layout();
  out->write({{"loci_arrivals", kVersion},
              {"model", model.core->fingerprint()},
              {"attention", model.core->plan()->canonical},
              {"context", layout.context},
              {"batch", layout.batch},
              {"chunk", layout.chunk},
              {"kv_bytes", layout.memory.kv_bytes},
              {"activations", options.activations},
              {"prefix_cache", options.prefix_cache}});
  return out;
}

ArrivalRecord::~ArrivalRecord() { std::fclose(file_); }

void ArrivalRecord::write(const ordered_json& line) {
  std::fputs((line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n").c_str(), file_);
  std::fflush(file_);  // what led to a crash is in the file
}

void ArrivalRecord::on_submit(uint64_t pass, uint64_t id, const BatchRequest& request, const std::string& attention) {
  ordered_json choices = ordered_json::array();
  for (const Request& choice : request.choices) choices.push_back(json_of(choice));
  write({{"pass", pass},
         {"submit", id},
         {"tenant", request.tenant},
         {"attention", attention},
         {"states", request.on_states != nullptr},
         {"choices", choices}});
}

void ArrivalRecord::on_cancel(uint64_t pass, uint64_t id) { write({{"pass", pass}, {"cancel", id}}); }

void ArrivalRecord::on_pass(const StepReport& report) { write({{"rows", json_of(report)}}); }

void ArrivalRecord::on_done(uint64_t id, uint32_t choice, const Result<Completion>& done) {
  write({{"done", id}, {"choice", choice}, {"result", json_of(done)}});
}

Result<Arrivals> read_arrivals(const std::string& path) {
  std::ifstream file(path);
  if (!file) return fail(ErrorCode::kIo, "cannot read the record '{}'", path);
  Arrivals out;
  std::string line;
  for (size_t number = 1; std::getline(file, line); ++number) {
    const std::string where = fmt::format("{}:{}", path, number);
    LOCI_CHECK(parse_bounded_json(line, where, {.bytes = kMostLineBytes, .depth = 8, .values = 4'000'000}));
    ordered_json event = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) return fail(ErrorCode::kCorrupt, "{}: the line is no object", where);
    if (number > 1) {
      out.events.push_back(std::move(event));
      continue;
    }
    try {
      if (event.at("loci_arrivals") != kVersion)
        return fail(ErrorCode::kUnsupported, "{}: version {} is not read here, {} is", where,
                    event.at("loci_arrivals").dump(), kVersion);
      out.fingerprint = event.at("model");
      out.engine.attention = event.at("attention");
      out.engine.context = event.at("context");
      out.engine.batch = event.at("batch");
      out.engine.chunk = event.at("chunk");
      out.engine.kv_bytes = event.at("kv_bytes");
      out.engine.activations = event.at("activations");
      out.engine.prefix_cache = event.at("prefix_cache");
    } catch (const nlohmann::json::exception& error) {
      return fail(ErrorCode::kCorrupt, "{}: this is no header of a record: {}", where, error.what());
    }
  }
  if (out.fingerprint.empty()) return fail(ErrorCode::kCorrupt, "the record '{}' is empty", path);
  return out;
}

namespace {

// Plays events and notes what differs from the record.
class Replay {
 public:
  Replay(const Arrivals& arrivals, LoadedModel& model)
      : arrivals_(arrivals), model_(model), batcher_(*model.core, *model.tokenizer) {}

  Result<ReplayResult> run() {
    try {
      for (const ordered_json& event : arrivals_.events) {
        if (event.contains("rows")) rows_.push_back(event["rows"]);
        if (event.contains("done")) recorded_[{event.at("done"), event.at("choice")}] = event.at("result");
      }
      for (const ordered_json& event : arrivals_.events) {
        if (!event.contains("pass")) continue;
        while (batcher_.passes() < event.at("pass").get<uint64_t>() && !batcher_.idle()) step();
        LOCI_CHECK(apply(event));
      }
    } catch (const nlohmann::json::exception& error) {
      return fail(ErrorCode::kCorrupt, "the record is damaged: {}", error.what());
    }
    // What the record was cut off in is played as far as it goes.
    while (!batcher_.idle() && batcher_.passes() < rows_.size()) step();
    compare();
    result_.passes = batcher_.passes();
    return std::move(result_);
  }

 private:
  using Key = std::pair<uint64_t, uint32_t>;  // request and choice

  Status apply(const ordered_json& event) {
    if (event.contains("cancel")) {
      const auto found = ids_.find(event.at("cancel").get<uint64_t>());
      if (found != ids_.end()) batcher_.cancel(found->second);
      return {};
    }
    const uint64_t id = event.at("submit");
    BatchRequest request;
    request.tenant = event.at("tenant");
    for (const ordered_json& choice : event.at("choices")) {
      if (choice.at("constrained").get<bool>())
        return fail(ErrorCode::kUnsupported, "request {} was held to a grammar, which a record does not hold", id);
      request.choices.push_back(request_of(choice));
    }
    if (event.at("states").get<bool>()) request.on_states = [](uint32_t, const Rows&) {};
    if (request.choices.empty()) return fail(ErrorCode::kCorrupt, "request {} has no choice", id);
    request.on_done = [this, id](uint32_t choice, const Result<Completion>& done) {
      played_[{id, choice}] = json_of(done);
    };
    Result<std::shared_ptr<const BoundPlan>> plan = model_.core->bind(event.at("attention"));
    if (!plan.ok()) {  // as it was when it was recorded
      for (uint32_t c = 0; c < request.choices.size(); ++c) request.on_done(c, plan.error());
      return {};
    }
    request.plan = std::move(*plan);
    ids_[id] = batcher_.submit(std::move(request));
    return {};
  }

  void step() {
    const uint64_t before = batcher_.passes();
    const StepReport report = batcher_.step();
    if (batcher_.passes() == before) return;
    if (before < rows_.size() && rows_[before] != json_of(report))
      differs(fmt::format("pass {} had {} rows (decode, prompt, preempted) and has {}", before, rows_[before].dump(),
                          json_of(report).dump()));
  }

  void compare() {
    for (const auto& [key, result] : recorded_) {
      const auto found = played_.find(key);
      if (found == played_.end()) {
        differs(fmt::format("choice {} of request {} did not end", key.second, key.first));
      } else if (found->second != result) {
        differs(fmt::format("choice {} of request {} gave other tokens", key.second, key.first));
      }
      ++result_.choices;
    }
  }

  void differs(std::string what) {
    if (result_.differences.size() < kMostDifferences) result_.differences.push_back(std::move(what));
  }

  const Arrivals& arrivals_;
  LoadedModel& model_;
  Batcher batcher_;
  std::map<uint64_t, Batcher::Id> ids_;
  std::vector<ordered_json> rows_;
  std::map<Key, ordered_json> recorded_, played_;
  ReplayResult result_;
};

}  // namespace

Result<ReplayResult> replay(const Arrivals& arrivals, LoadedModel& model) {
  if (model.core->fingerprint() != arrivals.fingerprint) {
    return fail(ErrorCode::kInvalidArgument, "the record is of the model {}, but this one is {}", arrivals.fingerprint,
                model.core->fingerprint());
  }
  return Replay(arrivals, model).run();
}

}  // namespace loci

// A record of what came into the engine and when, and its replay: the same requests between the same passes give the
// same passes and the same texts, so a fault that was recorded once can be looked at again.
//
// The file is JSON lines: a header with what the engine was made with; "submit" and "cancel" with the number of passes
// before them; "pass" with the rows of each; "done" with each choice's tokens. Answers held to a grammar are recorded
// without it, and a replay says so.
#pragma once

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "serve/engine_loop.h"

namespace loci {

class ArrivalRecord final : public ArrivalLog {
 public:
  // kIo if the file cannot be written.
  static Result<std::unique_ptr<ArrivalRecord>> create(const std::string& path, const LoadedModel& model,
                                                       const EngineOptions& options);
  ~ArrivalRecord() override;

  void on_submit(uint64_t pass, uint64_t id, const BatchRequest& request, const std::string& attention) override;
  void on_cancel(uint64_t pass, uint64_t id) override;
  void on_pass(const StepReport& report) override;
  void on_done(uint64_t id, uint32_t choice, const Result<Completion>& done) override;

 private:
  explicit ArrivalRecord(std::FILE* file) : file_(file) {}
  void write(const nlohmann::ordered_json& line);

  std::FILE* file_;
};

// A record that was read and checked.
struct Arrivals {
  EngineOptions engine;     // to make the model with: what changes passes and texts
  std::string fingerprint;  // of the model
  std::vector<nlohmann::ordered_json> events;
};
Result<Arrivals> read_arrivals(const std::string& path);

struct ReplayResult {
  uint64_t passes = 0;
  uint64_t choices = 0;
  std::vector<std::string> differences;  // the first few, a sentence each; none: all is the same
};
// `model` was loaded with arrivals.engine. kInvalidArgument if it is another one, kUnsupported if an answer was held to
// a grammar.
Result<ReplayResult> replay(const Arrivals& arrivals, LoadedModel& model);

}  // namespace loci

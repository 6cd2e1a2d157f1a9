// What the server counts, in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats).
// Any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "serve/answer.h"
#include "serve/engine_loop.h"
#include "serve/http_server.h"

namespace loci {

class Metrics final : public LoopListener {
 public:
  Metrics();
  ~Metrics() override;

  void on_pass(const Pass& pass) override;
  void on_answer(const AnswerSummary& answer);
  // A request was answered with `status`; `route` is one of ours ("/v1/models") or "other".
  void on_reply(std::string_view route, int status);
  // A request was turned away before the engine saw it: "queue", "key", "auth", "body".
  void on_refusal(std::string_view cause);

  // One thread at a time.
  std::string text(const HttpCounters& http) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace loci

#include "serve/trace.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

namespace loci {

using nlohmann::ordered_json;

Result<std::unique_ptr<Trace>> Trace::open(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "we");
  if (file == nullptr) return fail(ErrorCode::kIo, "cannot write the trace '{}': {}", path, std::strerror(errno));
  std::fputs("[\n", file);
  return std::unique_ptr<Trace>(new Trace(file));
}

Trace::~Trace() {
  std::fputs("{}]\n", file_);
  std::fclose(file_);
}

long long Trace::micros(Clock::time_point at) const {
  return std::chrono::duration_cast<std::chrono::microseconds>(at - start_).count();
}

void Trace::write(const std::string& event) {
  const std::lock_guard lock(mutex_);
  std::fputs(event.c_str(), file_);
  std::fputs(",\n", file_);
}

void Trace::on_pass(const Pass& pass) {
  if (pass.report.decode_rows + pass.report.prompt_rows == 0) return;
  const ordered_json event = {{"name", pass.report.prompt_rows > 0 ? "pass with prompts" : "pass"},
                              {"cat", "engine"},
                              {"ph", "X"},
                              {"pid", 1},
                              {"tid", 1},
                              {"ts", micros(pass.begin)},
                              {"dur", micros(pass.end) - micros(pass.begin)},
                              {"args",
                               {{"decode_rows", pass.report.decode_rows},
                                {"prompt_rows", pass.report.prompt_rows},
                                {"preempted", pass.report.preempted},
                                {"running", pass.running},
                                {"waiting", pass.waiting},
                                {"kv_bytes", pass.pages.bytes_in_use}}}};
  write(event.dump());
}

// Three stretches of an asynchronous event: the queue, the prompt, the answer.
void Trace::on_answer(const std::string& id, const AnswerSummary& answer) {
  if (answer.status != 200) return;
  const auto event = [&](const char* phase, const char* name, Clock::time_point at) {
    const ordered_json out = {{"name", name}, {"cat", "request"}, {"ph", phase}, {"id", id},
                              {"pid", 1},     {"ts", micros(at)}, {"tid", 2}};
    write(out.dump());
  };
  event("b", "waits", answer.begun);
  event("e", "waits", answer.admitted);
  event("b", "reads the prompt", answer.admitted);
  event("e", "reads the prompt", answer.first_text);
  event("b", "answers", answer.first_text);
  event("e", "answers", answer.ended);
}

}  // namespace loci

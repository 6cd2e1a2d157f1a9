// Answers in the shapes of /v1/chat/completions and /v1/completions.
#pragma once

#include "serve/answer.h"

namespace loci {

class CompletionAnswer final : public TextAnswer {
 public:
  using TextAnswer::TextAnswer;

  void on_memory(uint32_t choice, const MemoryPicture& picture);

 private:
  void begin_events() override;
  void text_event(uint32_t choice, const std::string& text) override;
  void choice_ended(uint32_t choice) override;
  void end_events() override;
  void error_event(const ApiError& error) override;
  nlohmann::ordered_json whole() override;

  bool chat() const { return request().chat(); }
  void send(const nlohmann::ordered_json& event);
  nlohmann::ordered_json envelope(const char* object) const;
  nlohmann::ordered_json usage() const;
  nlohmann::ordered_json chat_logprobs(const std::vector<TokenLogprob>& tokens) const;
  nlohmann::ordered_json text_logprobs(const std::vector<TokenLogprob>& tokens, size_t text_offset) const;
  std::string echoed(uint32_t index) const;
  void send_piece(uint32_t index, nlohmann::ordered_json delta, const char* finish);
  nlohmann::ordered_json whole_choice(uint32_t index);
};

}  // namespace loci

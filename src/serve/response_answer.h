// Answers in the shapes of /v1/responses: one choice, whose text is a message and whose calls are items of their own.
#pragma once

#include "serve/answer.h"

namespace loci {

class ResponseAnswer final : public TextAnswer {
 public:
  using TextAnswer::TextAnswer;

 private:
  void begin_events() override;
  void text_event(uint32_t choice, const std::string& text) override;
  void choice_ended(uint32_t choice) override;
  void end_events() override;
  void error_event(const ApiError& error) override;
  nlohmann::ordered_json whole() override;

  void send(const char* type, nlohmann::ordered_json fields);
  void open_message();
  void message_text(const std::string& text);
  void close_message(const std::string& text);
  void send_call(const nlohmann::ordered_json& item);
  std::string message_id() const { return "msg_" + head().id; }
  nlohmann::ordered_json message(const std::string& text, const char* status) const;
  nlohmann::ordered_json response(const char* status, nlohmann::ordered_json output) const;
  nlohmann::ordered_json finished() const;

  std::vector<nlohmann::ordered_json> items_;  // that are complete
  uint64_t events_ = 0;
  bool message_open_ = false;
};

}  // namespace loci

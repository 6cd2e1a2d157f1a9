// A chat as a list of messages and the Session that has read them. Each turn renders the whole conversation with the
// model's template and feeds what the session does not hold yet; where a template rewrites earlier turns, the session
// is trimmed to the tokens that still agree. One thread at a time; must not outlive the engine.
#pragma once

#include <string>
#include <vector>

#include "loci/loci.h"

namespace loci {

class Conversation {
 public:
  // `system` may be empty.
  static Result<Conversation> open(Engine& engine, const std::string& system);

  // The user's next message and the model's answer. `request` brings everything but the prompt. If nothing was answered
  // (an error, or cancelled before the first token), the message is taken back.
  Result<Completion> say(const std::string& text, Request request);
  Status reset();
  // The cache in `path`, the messages in `path`.json.
  Status save(const std::string& path) const;
  // On an error the conversation stays as it was.
  Status load(const std::string& path);

  size_t turns() const;  // messages of the user
  size_t tokens() const { return session_.tokens().size(); }
  const std::vector<ChatMessage>& messages() const { return messages_; }

 private:
  Conversation(Engine& engine, Session session, std::vector<ChatMessage> messages)
      : engine_(&engine), session_(std::move(session)), messages_(std::move(messages)) {}

  Engine* engine_;
  Session session_;
  std::vector<ChatMessage> messages_;
};

}  // namespace loci

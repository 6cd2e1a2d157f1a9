// Where the messages lie in a chat prompt's tokens.
#include "engine/chat_prompt.h"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "io/model_file.h"

namespace loci {
namespace {

std::string read_text(const std::string& name) {
  std::ifstream in(std::string(LOCI_SOURCE_DIR) + "/tests/data/chat/" + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

struct Model {
  std::unique_ptr<ModelFile> file;
  std::unique_ptr<Tokenizer> tokenizer;
};

// needle: byte-level BPE; stories260k: SentencePiece with a space before the text.
Model open_model(const std::string& name) {
  Model out;
  out.file = std::move(*open_model_file(std::string(LOCI_SOURCE_DIR) + "/models/" + name));
  out.tokenizer = std::move(*Tokenizer::load(*out.file));
  return out;
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// The bytes that the span's tokens cover, and those that all tokens before it do.
std::string covered(const Model& model, const ChatPrompt& prompt, const LabelledSpan& span) {
  std::string out;
  for (uint32_t i = span.first; i < span.first + span.count; ++i)
    out += *model.tokenizer->piece(prompt.tokens.at(i), true);
  return out;
}

class ChatSpans : public testing::TestWithParam<const char*> {
 protected:
  Model model_ = open_model(GetParam());

  ChatPrompt prompt(const std::string& source, const std::vector<ChatMessage>& messages) {
    const Result<ChatTemplate> chat_template = ChatTemplate::parse(source);
    EXPECT_TRUE(chat_template.ok());
    Result<ChatPrompt> out = make_chat_prompt(*chat_template, *model_.tokenizer, messages, true);
    EXPECT_TRUE(out.ok()) << out.error().message;
    return std::move(*out);
  }

  // The span's tokens hold the content, and would not without their first or last one.
  void expect_span(const ChatPrompt& prompt, size_t number, const ChatMessage& message) {
    ASSERT_LT(number, prompt.spans.size());
    const LabelledSpan& span = prompt.spans[number];
    EXPECT_EQ(span.label, message.role);
    const std::string content = trimmed(message.content);
    EXPECT_NE(covered(model_, prompt, span).find(content), std::string::npos)
        << "'" << content << "' in '" << covered(model_, prompt, span) << "'";
    if (span.count == 1) return;
    const LabelledSpan later{"", span.first + 1, span.count - 1}, shorter{"", span.first, span.count - 1};
    EXPECT_EQ(covered(model_, prompt, later).find(content), std::string::npos) << content;
    EXPECT_EQ(covered(model_, prompt, shorter).find(content), std::string::npos) << content;
  }
};

TEST_P(ChatSpans, EveryMessageOfAConversationHasItsOwn) {
  const std::vector<ChatMessage> messages = {{"system", "Be brief."},
                                             {"user", "  What is a whale?\n"},
                                             {"assistant", "A mammal.\n\nIt swims."},
                                             {"user", "And h\xc3\xa9llo, \xe9\xaf\xa8?"}};
  for (const char* name : {"smollm2.jinja", "llama3.jinja", "qwen25.jinja", "gemma3.jinja", "llama2.jinja",
                           "mistral.jinja", "phi.jinja"}) {
    const ChatPrompt got = prompt(read_text(name), messages);
    ASSERT_EQ(got.spans.size(), 4u) << name;
    uint32_t end = 0;
    for (const LabelledSpan& span : got.spans) {
      EXPECT_GE(span.first, end) << name;
      end = span.first + span.count;
    }
    EXPECT_LE(end, got.tokens.size());
    // Mistral's system message stands before the last question.
    const bool late = std::string(name) == "mistral.jinja";
    for (size_t i = 0; i < 4; ++i) expect_span(got, i, messages[late ? std::array{1, 2, 0, 3}[i] : i]);
  }
}

// Contents that the template itself writes elsewhere: in a role's name, a default system prompt, another message.
TEST_P(ChatSpans, AContentThatStandsElsewhereTooIsFoundWhereItBelongs) {
  const std::vector<ChatMessage> messages = {{"user", "user"}, {"assistant", "user"}, {"user", "helpful"}};
  const ChatPrompt got = prompt(read_text("smollm2.jinja"), messages);
  ASSERT_EQ(got.spans.size(), 3u);
  size_t from = 0;
  for (size_t i = 0; i < 3; ++i) {
    expect_span(got, i, messages[i]);
    const std::string header = "<|im_start|>" + messages[i].role + "\n";
    const size_t content = got.text.find(header, from) + header.size();
    from = content;
    std::string before;
    for (uint32_t t = 0; t < got.spans[i].first; ++t) before += *model_.tokenizer->piece(got.tokens[t], true);
    // Up to a space that SentencePiece sets before the text.
    EXPECT_LE(before.size(), content + 1);
    EXPECT_GE(before.size() + covered(model_, got, got.spans[i]).size(), content + messages[i].content.size());
  }
}

TEST_P(ChatSpans, WhatTheTemplateCutsHasNone) {
  const std::string source =
      "{% for m in messages %}[{{ m.role }}]{{ m.content[:2] if m.role == 'tool' else m.content }}{% endfor %}";
  const ChatPrompt got = prompt(source, {{"user", "one"}, {"tool", "two"}, {"user", " "}, {"user", "three"}});
  ASSERT_EQ(got.spans.size(), 2u);
  expect_span(got, 0, {"user", "one"});
  expect_span(got, 1, {"user", "three"});
  // A template that leaves a message out, and one that forges the marks around contents.
  EXPECT_EQ(
      prompt("{% for m in messages[1:] %}{{ m.content }}{% endfor %}", {{"user", "a"}, {"tool", "b"}}).spans.size(),
      1u);
  EXPECT_TRUE(prompt("{{ messages[0].content | replace('0', '77') }}", {{"user", "a"}}).spans.empty());
  // One that counts its letters, the marks' too.
  EXPECT_TRUE(prompt("{{ messages[0].content | length }} {{ messages[0].content }}", {{"user", "a"}}).spans.empty());
  // A changed content is still the message's.
  const ChatPrompt loud = prompt("said: {{ messages[0].content | upper }}", {{"user", "whale"}});
  ASSERT_EQ(loud.spans.size(), 1u);
  expect_span(loud, 0, {"user", "WHALE"});
}

// Whatever the contents are, a span is its message's, and lies within the tokens.
TEST_P(ChatSpans, HoldOnRandomContents) {
  std::mt19937 random(9);
  const std::vector<std::string> parts = {" ",          "\n",       "user", "assistant",    "<|im_end|>",       "a",
                                          "the whale ", "\xc3\xa9", "0",    "\xee\x80\x80", "\xf0\x9f\x90\xb3", "\\",
                                          "{{ x }}"};
  for (int round = 0; round < 200; ++round) {
    std::vector<ChatMessage> messages;
    for (size_t i = 0, count = 1 + random() % 6; i < count; ++i) {
      std::string content;
      for (size_t n = random() % 6; n > 0; --n) content += parts[random() % parts.size()];
      messages.push_back({i % 2 == 0 ? "user" : "assistant", content});
    }
    const ChatPrompt got = prompt(read_text("smollm2.jinja"), messages);
    size_t span = 0;
    for (const ChatMessage& message : messages) {
      if (!trimmed(message.content).empty()) expect_span(got, span++, message);
    }
    EXPECT_EQ(got.spans.size(), span);
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, ChatSpans, testing::Values("needle-14m-q8_0.gguf", "stories260k.gguf"));

}  // namespace
}  // namespace loci

#include "serve/completion_request.h"

#include <gtest/gtest.h>

#include <random>

namespace loci {
namespace {

using nlohmann::json;

const RequestLimits kLimits{.vocabulary = 1000, .context = 100};

CompletionRequest good(const std::variant<CompletionRequest, ApiError>& read) {
  if (const auto* error = std::get_if<ApiError>(&read)) ADD_FAILURE() << error->message;
  return std::holds_alternative<ApiError>(read) ? CompletionRequest() : std::get<CompletionRequest>(read);
}

TEST(CompletionRequest, DefaultsAreOpenAis) {
  const CompletionRequest chat =
      good(read_chat_request(json::parse(R"({"messages": [{"role": "user", "content": "a"}]})"), kLimits));
  EXPECT_EQ(chat.sampling.temperature, 1.0F);
  EXPECT_EQ(chat.sampling.top_p, 1.0F);
  EXPECT_EQ(chat.choices, 1u);
  EXPECT_FALSE(chat.max_tokens);
  EXPECT_FALSE(chat.stream);
  EXPECT_FALSE(chat.seeded);
  EXPECT_EQ(chat.attention, "");
}

TEST(CompletionRequest, EveryFieldArrives) {
  const CompletionRequest out = good(read_completion_request(json::parse(R"({
    "model": "m", "prompt": [[1, 2], "b"], "max_tokens": 5, "temperature": 0.5, "top_p": 0.25, "top_k": 3, "min_p": 0.125, "n": 2,
    "stop": ["x", "y"], "seed": -1, "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.5, "logit_bias": {"7": -100},
    "logprobs": 2, "stream": true, "stream_options": {"include_usage": true}, "attention": "store=kv8", "cache_salt": "s", "task": "t",
    "ignore_eos": true, "user": "u", "echo": false, "best_of": 2})"),
                                                             kLimits));
  EXPECT_EQ(out.model, "m");
  ASSERT_EQ(out.prompts.size(), 2u);
  EXPECT_EQ(std::get<1>(out.prompts[0]), (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(std::get<0>(out.prompts[1]), "b");
  EXPECT_EQ(out.max_tokens, 5u);
  EXPECT_EQ(out.sampling.temperature, 0.5F);
  EXPECT_EQ(out.sampling.top_p, 0.25F);
  EXPECT_EQ(out.sampling.top_k, 3u);
  EXPECT_EQ(out.sampling.min_p, 0.125F);
  EXPECT_EQ(out.sampling.seed, UINT64_MAX);
  EXPECT_EQ(out.sampling.presence_penalty, 1.0F);
  EXPECT_EQ(out.sampling.frequency_penalty, -1.0F);
  EXPECT_EQ(out.sampling.repetition_penalty, 1.5F);
  ASSERT_EQ(out.sampling.logit_bias.size(), 1u);
  EXPECT_EQ(out.sampling.logit_bias[0].token, 7);
  EXPECT_EQ(out.choices, 2u);
  EXPECT_EQ(out.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_TRUE(out.logprobs && out.stream && out.stream_usage && out.ignore_eos && out.seeded);
  EXPECT_EQ(out.top_logprobs, 2u);
  EXPECT_EQ(out.attention, "store=kv8");
  EXPECT_EQ(out.cache_salt, "s");
  EXPECT_EQ(out.task, "t");
}

TEST(CompletionRequest, NullsAreAsAbsent) {
  const CompletionRequest out = good(read_chat_request(
      json::parse(
          R"({"messages": [{"role": "user", "content": "a", "name": null}], "temperature": null, "stop": null, "max_tokens": null,
                      "stream": null, "logit_bias": null, "tools": null, "response_format": null, "attention": null, "n": null})"),
      kLimits));
  EXPECT_EQ(out.sampling.temperature, 1.0F);
}

TEST(CompletionRequest, PartsOfAContentAreJoined) {
  const CompletionRequest out = good(read_chat_request(
      json::parse(
          R"({"messages": [{"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]})"),
      kLimits));
  EXPECT_EQ(out.messages[0].role, "system");
  EXPECT_EQ(out.messages[0].content, "ab");
}

TEST(CompletionRequest, ErrorsNameTheField) {
  const auto param = [](const char* body) {
    const auto read = read_chat_request(json::parse(body), kLimits);
    return std::holds_alternative<ApiError>(read) ? std::get<ApiError>(read).param : "none";
  };
  EXPECT_EQ(param(R"({"messages": [{"role": "user", "content": "a"}], "temperature": 3})"), "temperature");
  EXPECT_EQ(param(R"({"messages": [{"role": "user", "content": "a"}, {"role": "x"}]})"), "messages[1].role");
  EXPECT_EQ(param(R"({"messages": [{"role": "user", "content": [{"type": "image"}]}]})"),
            "messages[0].content[0].type");
  EXPECT_EQ(param(R"({"messages": [{"role": "user", "content": "a"}], "nonsense": 1})"), "nonsense");
  EXPECT_EQ(param(R"({"messages": [{"role": "user", "content": "a"}], "attention": "x="})"), "attention");
  // A plan of a request opens no file.
  const auto of_plan = [&](const std::string& plan) {
    const json body = {{"messages", {{{"role", "user"}, {"content", "a"}}}}, {"attention", plan}};
    return param(body.dump().c_str());
  };
  EXPECT_EQ(of_plan("retain=duo(profile=/etc/passwd)"), "attention");
  EXPECT_EQ(of_plan("mix=act(profile=/etc/passwd)@2"), "attention");
  EXPECT_EQ(of_plan("retain=duo(profile=auto)"), "none");
}

// Any JSON gives a request or an error.
TEST(CompletionRequest, RandomValuesInEveryField) {
  std::mt19937 random(11);
  const std::vector<std::string> names = {"model",
                                          "prompt",
                                          "messages",
                                          "temperature",
                                          "top_p",
                                          "n",
                                          "stop",
                                          "seed",
                                          "logit_bias",
                                          "logprobs",
                                          "top_logprobs",
                                          "stream",
                                          "stream_options",
                                          "attention",
                                          "response_format",
                                          "tools",
                                          "tool_choice",
                                          "max_tokens",
                                          "max_completion_tokens",
                                          "echo",
                                          "suffix"};
  const std::vector<json> values = {nullptr,
                                    true,
                                    0,
                                    -1,
                                    1e300,
                                    INT64_MIN,
                                    UINT64_MAX,
                                    "",
                                    "a",
                                    json::array(),
                                    json::object(),
                                    json::array({json::array({json::array()})}),
                                    {{"type", "json_schema"}},
                                    {{"role", "user"}},
                                    json::array({{{"role", "user"}, {"content", "a"}}}),
                                    {{"include_usage", 3}},
                                    std::string(10000, 'x')};
  for (int i = 0; i < 3000; ++i) {
    json body = json::object();
    for (const std::string& name : names) {
      if (random() % 3 == 0) body[name] = values[random() % values.size()];
    }
    for (const auto& read : {read_chat_request(body, kLimits), read_completion_request(body, kLimits)}) {
      if (const auto* error = std::get_if<ApiError>(&read)) {
        EXPECT_EQ(error->status, 400);
        EXPECT_FALSE(error->message.empty());
        EXPECT_FALSE(json::parse(error->json()).empty());
      }
    }
  }
}

}  // namespace
}  // namespace loci

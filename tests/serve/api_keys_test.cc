#include "serve/api_keys.h"

#include <gtest/gtest.h>

namespace loci {
namespace {

using std::chrono::seconds;

TEST(ApiKeys, AreFoundWhole) {
  const auto keys = ApiKeys::parse("# keys\nsecret-key-number-1 alice concurrent=2\n\n  secret-key-number-2\n", "keys");
  ASSERT_TRUE(keys.ok()) << keys.error().message;
  ASSERT_NE(keys->find("secret-key-number-1"), nullptr);
  EXPECT_EQ(keys->find("secret-key-number-1")->name, "alice");
  EXPECT_EQ(keys->find("secret-key-number-1")->limits.concurrent, 2u);
  EXPECT_EQ(keys->find("secret-key-number-2")->name, "key-2");
  for (const char* wrong : {"", "secret-key-number-", "secret-key-number-11", "Secret-key-number-1", "alice", "#"})
    EXPECT_EQ(keys->find(wrong), nullptr) << wrong;
}

TEST(ApiKeys, WrongFilesSayWhere) {
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"", "holds no key"},
           {"# only a comment\n", "holds no key"},
           {"short\n", "keys:1: the key has 5 characters"},
           {"secret-key-number-1\nsecret-key-number-1\n", "keys:2: the key is there already"},
           {"secret-key-number-1 a\nsecret-key-number-2 a\n", "keys:2: the name 'a' is there already"},
           {"secret-key-number-1 a concurrent\n", "'concurrent' is no limit"},
           {"secret-key-number-1 a concurrent=-1\n", "needs a number"},
           {"secret-key-number-1 a concurrent=99999999999\n", "needs a number"},
           {"secret-key-number-1 a speed=1\n", "'speed=1' is no limit"}}) {
    const auto keys = ApiKeys::parse(text, "keys");
    ASSERT_FALSE(keys.ok()) << text;
    EXPECT_NE(keys.error().message.find(message), std::string::npos) << keys.error().message;
    EXPECT_EQ(keys.error().message.find("secret"), std::string::npos) << "a message shows no key";
  }
}

TEST(ApiKeys, BearerOfAHeader) {
  EXPECT_EQ(bearer("Bearer abc"), "abc");
  EXPECT_EQ(bearer("bearer   abc"), "abc");
  for (const char* none : {"", "Bearer", "Bearer ", "Basic abc", "abc"}) EXPECT_EQ(bearer(none), "") << none;
}

TEST(KeyUse, CountsWhatIsOpen) {
  KeyUse use;
  const ApiKey key{.name = "a", .limits = {.concurrent = 2}};
  const KeyUse::Clock::time_point now;
  EXPECT_FALSE(use.begin(key, now));
  EXPECT_FALSE(use.begin(key, now));
  EXPECT_TRUE(use.begin(key, now));
  use.end(key, 10, now);
  EXPECT_FALSE(use.begin(key, now));
}

TEST(KeyUse, LimitsFillUpAgain) {
  KeyUse use;
  const ApiKey key{.name = "a", .limits = {.requests_per_minute = 2}};
  const KeyUse::Clock::time_point now;
  EXPECT_FALSE(use.begin(key, now));
  EXPECT_FALSE(use.begin(key, now));
  const auto refusal = use.begin(key, now);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->retry_after_seconds, 30u);
  EXPECT_TRUE(use.begin(key, now + seconds(29)));
  EXPECT_FALSE(use.begin(key, now + seconds(31)));
  EXPECT_FALSE(use.begin(key, now + seconds(600)));
  EXPECT_FALSE(use.begin(key, now + seconds(600)));
  EXPECT_TRUE(use.begin(key, now + seconds(600))) << "what was not used is not saved up";
}

TEST(KeyUse, TokensAreCountedAtTheEnd) {
  KeyUse use;
  const ApiKey key{.name = "a", .limits = {.tokens_per_minute = 100}};
  const KeyUse::Clock::time_point now;
  EXPECT_FALSE(use.begin(key, now));
  use.end(key, 250, now);
  EXPECT_TRUE(use.begin(key, now + seconds(60)));
  EXPECT_FALSE(use.begin(key, now + seconds(100)));
}

}  // namespace
}  // namespace loci

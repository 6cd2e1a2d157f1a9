#include "engine/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace loci {
namespace {

using Strings = std::vector<std::string>;

StopStrings make(const Strings& strings) {
  auto stops = StopStrings::make(strings);
  EXPECT_TRUE(stops.ok());
  return std::move(stops).value();
}

struct Outcome {
  std::string shown;
  std::optional<size_t> match;
};

// The definition, word for word: the first end, then the longest string that ends there.
Outcome by_definition(const Strings& strings, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<size_t> found;
    for (size_t i = 0; i < strings.size(); ++i) {
      const std::string& s = strings[i];
      if (s.size() > end || text.compare(end - s.size(), s.size(), s) != 0) continue;
      if (!found || s.size() > strings[*found].size()) found = i;
    }
    if (found) return {text.substr(0, end - strings[*found].size()), found};
  }
  return {text, std::nullopt};
}

// Bytes that must be held back: the longest suffix of the text that a stop string begins with.
size_t held_by_definition(const Strings& strings, const std::string& text) {
  size_t longest = 0;
  for (const std::string& s : strings) {
    for (size_t n = 1; n < s.size() && n <= text.size(); ++n) {
      if (text.compare(text.size() - n, n, s, 0, n) == 0) longest = std::max(longest, n);
    }
  }
  return longest;
}

TEST(StopStrings, NothingToStopForHoldsNothingBack) {
  StopStrings stops = make({});
  EXPECT_EQ(stops.push("abc"), "abc");
  EXPECT_EQ(stops.finish(), "");
  EXPECT_FALSE(stops.match());
}

TEST(StopStrings, HoldsBackABeginningAndLetsItGo) {
  StopStrings stops = make({"END"});
  EXPECT_EQ(stops.push("the E"), "the ");
  EXPECT_EQ(stops.push("N"), "");
  EXPECT_EQ(stops.push("Emy"), "ENEmy");
  EXPECT_EQ(stops.push("E"), "");
  EXPECT_EQ(stops.finish(), "E");
}

TEST(StopStrings, EndsBeforeTheMatchAndStaysSilent) {
  StopStrings stops = make({"\n\n", "User:"});
  EXPECT_EQ(stops.push("Hello.\nUs"), "Hello.\n");
  EXPECT_EQ(stops.push("er: hi"), "");
  EXPECT_EQ(stops.match(), std::optional<size_t>(1));
  EXPECT_EQ(stops.push("more"), "");
  EXPECT_EQ(stops.finish(), "");
  stops.reset();
  EXPECT_FALSE(stops.match());
  EXPECT_EQ(stops.push("\nx"), "\nx");
}

TEST(StopStrings, TheFirstEndWinsAndThenTheLongest) {
  StopStrings inner = make({"abcd", "c"});
  EXPECT_EQ(inner.push("xabcd"), "xab");
  EXPECT_EQ(inner.match(), std::optional<size_t>(1));
  StopStrings suffix = make({"bc", "abc"});
  EXPECT_EQ(suffix.push("xabc"), "x");
  EXPECT_EQ(suffix.match(), std::optional<size_t>(1));
}

TEST(StopStrings, RefusesWhatCannotBeMeant) {
  EXPECT_EQ(StopStrings::make(Strings{"a", ""}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(StopStrings::make(Strings{"\x9fz"}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(StopStrings::make(Strings{std::string(StopStrings::kMaxBytes, 'a'), "b"}).error().code, ErrorCode::kLimit);
}

TEST(StopStrings, AgreesWithTheDefinitionOnRandomTextHoweverItIsCut) {
  std::mt19937 random(20);
  const auto letters = [&](size_t most, size_t alphabet) {
    std::string s(1 + random() % most, ' ');
    for (char& c : s) c = static_cast<char>('a' + random() % alphabet);
    return s;
  };
  for (int round = 0; round < 20000; ++round) {
    const size_t alphabet = 2 + random() % 3;
    Strings strings(random() % 5);
    for (auto& s : strings) s = letters(6, alphabet);
    const std::string text = letters(40, alphabet);
    const Outcome expected = by_definition(strings, text);
    StopStrings stops = make(strings);
    std::string shown;
    for (size_t at = 0; at < text.size();) {
      const size_t piece = std::min<size_t>(text.size() - at, random() % 5);
      shown += stops.push(std::string_view(text).substr(at, piece));
      at += piece;
      if (stops.match()) break;
      ASSERT_EQ(shown.size(), at - held_by_definition(strings, text.substr(0, at))) << "round " << round;
    }
    shown += stops.finish();
    ASSERT_EQ(shown, expected.shown) << "round " << round << " text " << text;
    // Equal strings are one string: compare them, not their indices.
    ASSERT_EQ(stops.match().has_value(), expected.match.has_value());
    if (expected.match) {
      ASSERT_EQ(strings[*stops.match()], strings[*expected.match]);
    }
  }
}

TEST(StopStrings, ShowsWholeCharacters) {
  StopStrings stops = make({"é!"});
  EXPECT_EQ(stops.push("caf\xc3\xa9"), "caf");
  EXPECT_EQ(stops.push("\xc3\xa8"), "éè");
}

TEST(StopStrings, IsLinearOnRepetition) {
  StopStrings stops = make({std::string(30000, 'a') + "b", std::string(30000, 'a') + "c"});
  const std::string text(1 << 20, 'a');
  EXPECT_EQ(stops.push(text).size(), text.size() - 30000);
  EXPECT_EQ(stops.push("b"), "");
  EXPECT_EQ(stops.match(), std::optional<size_t>(0));
}

}  // namespace
}  // namespace loci

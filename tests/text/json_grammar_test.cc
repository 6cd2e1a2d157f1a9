#include "text/json_grammar.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

namespace loci {
namespace {

using nlohmann::ordered_json;

bool accepts(const Grammar& grammar, std::string_view text) {
  GrammarState state(grammar);
  for (const char c : text) {
    if (!state.take(static_cast<uint8_t>(c))) return false;
  }
  return state.complete();
}

// A text of the grammar, by bytes at random.
std::string random_text(const Grammar& grammar, std::mt19937& random, size_t most) {
  GrammarState state(grammar);
  std::string out;
  while (out.size() < most) {
    if (state.complete() && (!state.open() || random() % 4 == 0)) return out;
    std::vector<uint8_t> next;
    for (int b = 0; b < 256; ++b) {
      GrammarState tried = state;
      if (tried.take(static_cast<uint8_t>(b))) next.push_back(static_cast<uint8_t>(b));
    }
    EXPECT_FALSE(next.empty()) << "a way that leads nowhere: " << out;
    if (next.empty()) return "";
    // Ends are preferred, or strings would never.
    std::vector<uint8_t> ends;
    for (const uint8_t b : next) {
      if (b == '"' || b == '}' || b == ']') ends.push_back(b);
    }
    const auto& from = !ends.empty() && random() % 2 == 0 ? ends : next;
    const uint8_t byte = from[random() % from.size()];
    state.take(byte);
    out += static_cast<char>(byte);
  }
  return "";
}

Grammar grammar_of(const char* schema) {
  Result<Grammar> grammar = json_schema_grammar(ordered_json::parse(schema));
  EXPECT_TRUE(grammar.ok()) << schema << ": " << (grammar.ok() ? "" : grammar.error().message);
  return grammar.ok() ? *grammar : Grammar();
}

TEST(JsonGrammar, TakesObjectsAndNothingElse) {
  const Grammar grammar = json_object_grammar();
  for (const char* text :
       {"{}", "{ }", R"({"a": 1})", R"({"a":[1,2.5,-3e10,true,false,null,"x",{}]})", "{\n  \"a\": \"\\u00e9\\n\"\n}",
        "{\"\xc3\xa9\": \"\xf0\x9f\x98\x80\"}", R"({"a":{"b":{"c":[[[]]]}}})"}) {
    EXPECT_TRUE(accepts(grammar, text)) << text;
  }
  for (const char* text : {"",
                           "[]",
                           "1",
                           "{",
                           "}",
                           "{}}",
                           "{} ",
                           R"({"a"})",
                           R"({"a":})",
                           R"({"a":1,})",
                           R"({a:1})",
                           R"({"a":01})",
                           R"({"a":1.})",
                           R"({"a":+1})",
                           R"({"a":tru})",
                           R"({"a":"\x"})",
                           "{\"a\":\"\n\"}",
                           "{\"a\":\"\xff\"}",
                           "{\"a\":\"\xc0\xaf\"}",
                           "{\"a\":\"\xed\xa0\x80\"}",
                           R"({"a":"\ud800"})",
                           R"({"a" :1})"}) {
    EXPECT_FALSE(accepts(grammar, text)) << text;
  }
}

TEST(JsonGrammar, WhatItTakesIsJson) {
  std::mt19937 random(5);
  for (const Grammar& grammar :
       {json_object_grammar(),
        grammar_of(R"({"type": ["string", "number", "array"], "items": {"type": "integer"}})")}) {
    int whole = 0;
    for (int i = 0; i < 300; ++i) {
      const std::string text = random_text(grammar, random, 2000);
      if (text.empty()) continue;
      ++whole;
      EXPECT_TRUE(nlohmann::json::accept(text)) << text;
    }
    EXPECT_GT(whole, 100);
  }
}

TEST(JsonGrammar, FollowsASchema) {
  struct Case {
    const char* schema;
    std::vector<const char*> good, bad;
  };
  const std::vector<Case> cases = {
      {R"({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"], "additionalProperties": false})",
       {R"({"name": "a", "age": 3})", R"({"name":"","age":-3})"},
       {R"({})", R"({"name": "a"})", R"({"age": 3, "name": "a"})", R"({"name": "a", "age": 3.5})",
        R"({"name": "a", "age": 3, "x": 1})"}},
      {R"({"properties": {"a": {"type": "null"}, "b": {"type": "boolean"}, "c": {"const": "x"}}, "required": ["b"]})",
       {R"({"b": true})", R"({"a": null, "b": false})", R"({"b": true, "c": "x"})",
        R"({"a": null, "b": true, "c": "x"})"},
       {R"({"a": null})", R"({"b": true, "c": "y"})", R"({"b": true,})", R"({,"b": true})",
        R"({"c": "x", "b": true})"}},
      {R"({"type": "array", "items": {"enum": ["a", 1, null]}, "minItems": 1, "maxItems": 3})",
       {R"(["a"])", R"([1, null])", R"(["a", "a", "a"])"},
       {R"([])", R"(["b"])", R"([1, 1, 1, 1])", R"([1,])"}},
      {R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"}},
      {R"({"type": "array", "items": {"type": "integer"}, "minItems": 2})",
       {"[1, 2]", "[1, 2, 3, 4, 5]"},
       {"[1]", "[]"}},
      {R"({"type": "string", "minLength": 2, "maxLength": 3})",
       {R"("ab")", "\"a\xc3\xa9z\"", R"("\n\n\n")"},
       {R"("a")", R"("abcd")"}},
      {R"({"anyOf": [{"type": "integer"}, {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}]})",
       {"1", R"({"a": 1})"},
       {R"("1")", "{}"}},
      {R"({"type": ["integer", "null"]})", {"1", "null"}, {"1.5", "true"}},
      {R"({"type": "object", "additionalProperties": {"type": "integer"}})",
       {"{}", R"({"x": 1, "y": 2})"},
       {R"({"x": "a"})"}},
      {R"({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}, "required": ["v"]}}})",
       {R"({"v": 1})", R"({"v": 1, "kids": [{"v": 2, "kids": []}, {"v": 3}]})"},
       {R"({"kids": []})", R"({"v": 1, "kids": [1]})"}},
      {R"({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false})",
       {"[]", "[1]", R"([1, "a"])"},
       {R"(["a"])", R"([1, 2])", R"([1, "a", 3])", R"([1,])"}},
      {R"({"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": {"type": "null"}, "minItems": 3, "maxItems": 4})",
       {R"([1, "a", null])", R"([1, "a", null, null])"},
       {"[]", "[1]", R"([1, "a"])", R"([1, "a", 2])", R"([1, "a", null, null, null])"}},
      {R"({"prefixItems": [{"type": "integer"}], "maxItems": 1, "minItems": 1})", {"[1]"}, {"[]", "[1, 2]"}},
      {R"({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}], "minItems": 1})",
       {"[1]", "[1, null]", R"([1, null, "x", {}])"},
       {"[]", "[null]", "[1, 1]"}},
      {R"({"type": "array", "items": false})", {"[]"}, {"[1]"}},
      {R"({"type": "string", "enum": ["a", "b"]})", {R"("a")"}, {R"("c")"}},
      {R"({"type": ["integer", "null"], "enum": [1, null], "description": "d"})", {"1", "null"}, {"2"}},
      {R"({"minLength": 2})", {R"("ab")"}, {R"("a")", "1"}},
      {R"({"minItems": 1})", {"[1]"}, {"[]", "1"}},
      {R"({"type": "object", "properties": {"child": {"$ref": "#"}}})",
       {"{}", R"({"child": {"child": {}}})"},
       {R"({"child": 1})"}},
      // A way that leads back to itself adds nothing to the others.
      {R"({"anyOf": [{"$ref": "#"}, {"type": "integer"}]})", {"12"}, {R"("a")"}},
      {"true", {"1", "[]", R"({"a": 1})"}, {"", "x"}},
      {"{}", {"1", "[1, \"a\"]"}, {"nul"}},
  };
  for (const Case& c : cases) {
    const Grammar grammar = grammar_of(c.schema);
    for (const char* text : c.good) EXPECT_TRUE(accepts(grammar, text)) << c.schema << " " << text;
    for (const char* text : c.bad) EXPECT_FALSE(accepts(grammar, text)) << c.schema << " " << text;
  }
}

TEST(JsonGrammar, RefusesWhatItCannotFollow) {
  for (const auto& [schema, message] : std::vector<std::pair<const char*, const char*>>{
           {R"({"type": "string", "pattern": "a+"})", "'pattern'"},
           {R"({"type": "integer", "minimum": 3})", "'minimum'"},
           {R"({"allOf": [{}]})", "'allOf'"},
           {R"({"properties": {"a": {"properties": {"b": {"not": {}}}}}})", "'#/a/b'"},
           {R"({"type": "text"})", "'text'"},
           {R"({"type": 3})", "neither"},
           {R"({"$ref": "http://example.org/schema"})", "leads to no schema"},
           {R"({"$ref": "#/$defs/x"})", "leads to no schema"},
           {R"({"enum": []})", "enum"},
           {R"({"type": "array", "maxItems": -1})", "maxItems"},
           {R"({"type": "array", "minItems": 99999999})", "minItems"},
           {R"({"type": "array", "minItems": 3, "maxItems": 2})", "above"},
           {R"({"required": ["a"], "type": "object"})", "names no property"},
           {R"({"required": ["a"]})", "names no property"},
           {R"({"anyOf": [{}], "type": "object"})", "'anyOf' and 'type'"},
           {R"({"oneOf": [{}], "properties": {}})", "'oneOf' and 'properties'"},
           {R"({"anyOf": [{}], "oneOf": [{}]})", "'anyOf' and 'oneOf'"},
           {R"({"enum": [1], "minLength": 2})", "'enum' and 'minLength'"},
           {R"({"const": 1, "enum": [1]})", "'const' and 'enum'"},
           {R"({"$ref": "#/$defs/a", "maxItems": 2, "$defs": {"a": {}}})", "'$ref' and 'maxItems'"},
           {R"({"enum": ["a", 1], "type": "string"})", "not of its 'type'"},
           {R"({"const": 1.5, "type": ["integer", "null"]})", "not of its 'type'"},
           {R"({"minLength": 2, "items": {}})", "give a 'type'"},
           {R"({"type": "array", "items": false, "minItems": 1})", "allows none"},
           {R"({"prefixItems": [{}], "items": false, "minItems": 2})", "more items"},
           {R"({"prefixItems": 1})", "'prefixItems'"},
           {R"({"type": "object", "additionalProperties": 3})", "no schema"},
           {R"({"$ref": "#"})", "'#' leads back to itself"},
           {R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}})",
            "leads back to itself"},
           {R"({"properties": {"a": {"$ref": "#"}}, "required": ["a"]})", "'#' leads back to itself"},
           {R"([])", "no object"},
           {R"("string")", "no object"},
           {R"({"properties": {"a": 1}})", "'#/a'"}}) {
    const Result<Grammar> grammar = json_schema_grammar(ordered_json::parse(schema));
    ASSERT_FALSE(grammar.ok()) << schema;
    EXPECT_NE(grammar.error().message.find(message), std::string::npos) << grammar.error().message;
  }
}

TEST(JsonGrammar, CallsOfFunctions) {
  const ordered_json city =
      ordered_json::parse(R"({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})");
  const std::vector<FunctionSchema> functions = {{"weather", &city}, {"now", nullptr}};
  const Grammar grammar = *tool_call_grammar(functions);
  EXPECT_TRUE(
      accepts(grammar, "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>"));
  EXPECT_TRUE(accepts(grammar, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_FALSE(accepts(grammar, "<tool_call>\n{\"name\": \"weather\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_FALSE(accepts(grammar, "<tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_FALSE(accepts(grammar, "Certainly!"));
}

// Compiling is bounded whatever the schema is.
TEST(JsonGrammar, LargeSchemasAreRefused) {
  ordered_json deep = ordered_json::object();
  for (int i = 0; i < 200; ++i) deep = {{"type", "array"}, {"items", deep}};
  EXPECT_FALSE(json_schema_grammar(deep).ok());

  ordered_json wide = {{"type", "object"}, {"properties", ordered_json::object()}};
  for (int i = 0; i < 5000; ++i) wide["properties"][fmt::format("p{}", i)] = {{"type", "string"}};
  EXPECT_FALSE(json_schema_grammar(wide).ok());

  ordered_json blown = {{"type", "string"}, {"minLength", 4096}};
  for (int i = 0; i < 60; ++i)
    blown = {{"type", "object"}, {"properties", {{"a", blown}, {"b", {{"type", "string"}, {"minLength", 4096}}}}}};
  EXPECT_FALSE(json_schema_grammar(blown).ok());

  const ordered_json itself = {{"$ref", "#/$defs/a"}, {"$defs", {{"a", {{"$ref", "#/$defs/a"}}}}}};
  EXPECT_FALSE(json_schema_grammar(itself).ok());
}

TEST(JsonGrammar, DepthIsBounded) {
  const Grammar grammar = json_object_grammar();
  GrammarState state(grammar);
  for (const char c : std::string_view("{\"a\":")) ASSERT_TRUE(state.take(static_cast<uint8_t>(c)));
  int depth = 0;
  while (depth < 100'000 && state.take('[')) ++depth;
  EXPECT_GT(depth, 60);
  EXPECT_LT(depth, 1000);
}

}  // namespace
}  // namespace loci

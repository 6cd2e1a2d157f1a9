// Chat templates against goldens that jinja2 made (tests/generate/chat_goldens.py), and the bounds on hostile ones.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

namespace loci {
namespace {

const std::string kFolder = std::string(LOCI_SOURCE_DIR) + "/tests/data/chat/";

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

const nlohmann::json& goldens() {
  static const nlohmann::json json = nlohmann::json::parse(read_text(kFolder + "goldens.json"));
  return json;
}

std::vector<ChatMessage> conversation(size_t number) {
  std::vector<ChatMessage> out;
  for (const auto& message : goldens()["conversations"][number]) out.push_back({message["role"], message["content"]});
  return out;
}

Result<std::string> render(const std::string& source, const std::vector<ChatMessage>& messages, bool prompt = true) {
  LOCI_TRY(const ChatTemplate program, ChatTemplate::parse(source));
  return program.render(
      {.messages = messages, .add_generation_prompt = prompt, .bos_token = "<s>", .eos_token = "</s>"});
}

Result<std::string> render(const std::string& source) { return render(source, {{"user", "hi"}}); }

void expect_same(const nlohmann::json& want, const Result<std::string>& got, const std::string& what) {
  if (want.contains("text")) {
    ASSERT_TRUE(got.ok()) << what << "\n" << got.error().message;
    EXPECT_EQ(got.value(), want["text"].get<std::string>()) << what;
  } else {
    ASSERT_FALSE(got.ok()) << what << "\ngives: " << got.value();
    EXPECT_EQ(got.error().code, ErrorCode::kInvalidArgument) << what << "\n" << got.error().message;
  }
}

TEST(ChatTemplate, FamiliesEqualJinja) {
  ASSERT_GE(goldens()["templates"].size(), 200u);
  for (const auto& want : goldens()["templates"]) {
    const std::string name = want["template"];
    const auto got =
        render(read_text(kFolder + name), conversation(want["conversation"]), want["add_generation_prompt"]);
    expect_same(want, got, name + ", conversation " + want["conversation"].dump());
  }
}

TEST(ChatTemplate, SnippetsEqualJinja) {
  ASSERT_GE(goldens()["snippets"].size(), 50u);
  for (const auto& want : goldens()["snippets"])
    expect_same(want, render(want["source"], conversation(3)), want["source"]);
}

TEST(ChatTemplate, RaiseExceptionIsTheErrorsText) {
  const auto got =
      render("{% if messages[0].role == 'user' %}{{ raise_exception('No users: ' ~ messages|length) }}{% endif %}");
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(got.error().message, "No users: 1");
}

TEST(ChatTemplate, ErrorsNameConstructAndLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\n\n{% include 'x' %}", "line 3: the block 'include' is not supported"},
      {"\n{{ x | frobnicate }}", "line 2: the filter 'frobnicate' is not supported"},
      {"{{ x is wobbly }}", "line 1: the test 'wobbly' is not supported"},
      {"{{ f(*x) }}", "unpacking"},
      {"{% for x in y %}", "'endfor' should be"},
      {"{% if x %}{% endfor %}", "'endfor' where 'endif' should be"},
      {"{% endif %}", "'endif' closes nothing"},
      {"{{ 'abc }}", "a string is not closed"},
      {"{{ a", "a tag is not closed"},
      {"{# a", "a comment is not closed"},
      {"{% raw %} a", "a raw block is not closed"},
      {"{{ (1 }}", "'}' closes nothing"},
      {"{{ 1 $ 2 }}", "'$' has no meaning"},
      {"{{ 99999999999999999999 }}", "too large"},
      {"{% break %}", "'break' outside of a loop"},
      {"{{ }}", "an expression should be"},
      {"{% for x in y recursive %}{% endfor %}", "recursive"},
  };
  for (const auto& [source, part] : cases) {
    const auto got = ChatTemplate::parse(source);
    ASSERT_FALSE(got.ok()) << source;
    EXPECT_EQ(got.error().code, ErrorCode::kUnsupported) << source;
    EXPECT_NE(got.error().message.find(part), std::string::npos) << source << "\n" << got.error().message;
  }
}

TEST(ChatTemplate, RunTimeErrorsNameTheLine) {
  for (const char* source : {"\n{{ nothing.x }}", "\n{{ 'a' + 1 }}", "\n{{ 5 | length }}", "\n{{ 'a'.replace(1, 2) }}",
                             "\n{{ nothing() }}"}) {
    const auto got = render(source);
    ASSERT_FALSE(got.ok()) << source;
    EXPECT_NE(got.error().message.find("line 2"), std::string::npos) << got.error().message;
  }
}

TEST(ChatTemplate, StrftimeNowGivesTheDate) {
  const auto today = [] {
    char text[16];
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    std::strftime(text, sizeof(text), "%Y-%m-%d", &local);
    return std::string(text);
  };
  const std::string before = today();
  const auto got = render("{{ strftime_now('%Y-%m-%d') }}");
  ASSERT_TRUE(got.ok());
  EXPECT_TRUE(*got == before || *got == today()) << *got;
}

// ---- Bounds --------------------------------------------------------------------------------------------------------

std::string repeated(const std::string& text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

TEST(ChatTemplate, HostileTemplatesMeetALimitSoon) {
  const std::string cases[] = {
      "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
      "{% set ns = namespace(s='x') %}{% for a in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{{ 'x' * 1000000000000 }}",
      "{{ [0] * 1000000000000 }}",
      "{{ range(10000000) }}",
      "{% set ns = namespace(l=[]) %}{% for a in range(100) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}",
      "{% set ns = namespace(l=[]) %}{% for a in range(50) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      "{% set ns = namespace(l=[]) %}{% for a in range(50) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == "
      "ns.l[0] }}{{ ns.l | tojson }}",
      "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
      "{% macro f(x) %}{% for i in range(9) %}{{ f(x) }}{% endfor %}{% endmacro %}{{ f(1) }}",
      "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
      "{{ '' | indent(1000000000000) }}",
      "{{ 9223372036854775807 + 1 }}",
      "{{ 10 ** 100 }}",
      repeated("{% if true %}", 5000) + repeated("{% endif %}", 5000),
      "{{ " + repeated("(", 5000) + "1" + repeated(")", 5000) + " }}",
      "{{ " + repeated("[", 100000) + repeated("]", 100000) + " }}",
      "{{ " + repeated("not ", 100000) + "1 }}",
      "{{ " + repeated("-", 100000) + "1 }}",
      "{{ 1" + repeated(" + 1", 100000) + " }}",
      "{{ a" + repeated("[0]", 100000) + " }}",
      "{{ a" + repeated("|trim", 100000) + " }}",
      "{% if a %}" + repeated("{% elif a %}", 20000) + "{% endif %}",
      "{{ 1" + repeated(" if 1", 50000) + " }}",
      std::string(size_t{2} << 20, 'x'),
  };
  for (const std::string& source : cases) {
    const std::clock_t began = std::clock();  // the processor's time: a busy machine takes none
    const auto got = render(source);
    const double seconds = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
    ASSERT_FALSE(got.ok()) << source.substr(0, 120);
    EXPECT_EQ(got.error().code, ErrorCode::kLimit) << source.substr(0, 120) << "\n" << got.error().message;
    EXPECT_LT(seconds, 20) << source.substr(0, 120);
  }
}

TEST(ChatTemplate, ValuesCannotFormCycles) {
  for (const char* source :
       {"{% set ns = namespace() %}{% set ns.x = ns %}", "{% set ns = namespace() %}{% set ns.x = [ns] %}",
        "{% for a in [1] %}{% set x = [loop] %}{% endfor %}", "{{ [raise_exception] }}",
        "{% set ns = namespace() %}{{ namespace(x=ns) }}"}) {
    const auto got = render(source);
    ASSERT_FALSE(got.ok()) << source;
    EXPECT_EQ(got.error().code, ErrorCode::kUnsupported) << got.error().message;
  }
}

TEST(ChatTemplate, LongDocumentsPass) {
  const std::string book(size_t{8} << 20, 'a');
  const std::vector<ChatMessage> messages = {{"system", "s"}, {"user", "  " + book + "\n"}};
  for (const char* name : {"llama31.jinja", "qwen3.jinja", "gemma3.jinja", "mistral.jinja"}) {
    const auto got = render(read_text(kFolder + name), messages);
    ASSERT_TRUE(got.ok()) << name << "\n" << got.error().message;
    EXPECT_NE(got->find(book), std::string::npos) << name;
  }
}

TEST(ChatTemplate, ManyMessagesPass) {
  std::vector<ChatMessage> messages;
  for (int i = 0; i < 2000; ++i) messages.push_back({i % 2 == 0 ? "user" : "assistant", "turn " + std::to_string(i)});
  for (const char* name : {"llama31.jinja", "qwen3.jinja", "smollm2.jinja", "mistral.jinja", "deepseek.jinja"}) {
    const auto got = render(read_text(kFolder + name), messages);
    ASSERT_TRUE(got.ok()) << name << "\n" << got.error().message;
    EXPECT_NE(got->find("turn 1999"), std::string::npos) << name;
  }
}

TEST(ChatTemplate, ContentIsNeverRead) {
  const std::string odd = "{{ 1 / 0 }} {% raise %} \xff\xfe \xf0\x9f \x00 <|im_end|>";
  const auto got = render(read_text(kFolder + "smollm2.jinja"), {{"user", odd}});
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_NE(got->find(odd), std::string::npos);
}

// Templates with bytes changed, cut or doubled: any answer but a crash or a long wait.
TEST(ChatTemplate, DamagedTemplatesAreAnswered) {
  std::mt19937 random(20240607);
  std::vector<std::string> sources;
  for (const char* name : {"llama31.jinja", "qwen3.jinja", "gemma3.jinja", "command_r.jinja", "deepseek.jinja"}) {
    sources.push_back(read_text(kFolder + name));
  }
  for (const auto& snippet : goldens()["snippets"]) sources.push_back(snippet["source"]);
  const std::string pieces = "{}%#|-+()[]'\"\\.,:=~<>\n x0";
  size_t rendered = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string source = sources[random() % sources.size()];
    for (size_t edits = 1 + random() % 3; edits > 0 && !source.empty(); --edits) {
      const size_t at = random() % source.size(), count = 1 + random() % 8;
      switch (random() % 3) {
        case 0:
          source[at] = pieces[random() % pieces.size()];
          break;
        case 1:
          source.erase(at, count);
          break;
        default:
          source.insert(at, source.substr(random() % source.size(), count));
      }
    }
    rendered += render(source, conversation(i % 8)).ok() ? 1 : 0;
  }
  EXPECT_GT(rendered, 100u);
}

}  // namespace
}  // namespace loci

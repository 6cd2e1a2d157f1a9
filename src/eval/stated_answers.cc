#include "eval/stated_answers.h"

#include <algorithm>
#include <cctype>

#include "eval/letter_case.h"

namespace loci {
namespace {

bool is_white(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_white(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_white(text.back())) text.remove_suffix(1);
  return text;
}

// The braces that follow `at` and what they hold, or nothing if they do not close.
std::string_view braced(std::string_view text, size_t at) {
  const size_t open = text.find('{', at);
  if (open == std::string_view::npos) return {};
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return text.substr(open, i + 1 - open);
  }
  return {};
}

void erase_all(std::string& text, std::string_view part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) text.erase(at, part.size());
}

// "\text{x}" becomes "x".
void unwrap(std::string& text, std::string_view command) {
  for (size_t at = text.find(command); at != std::string::npos; at = text.find(command, at)) {
    const size_t close = text.find('}', at);
    if (close == std::string::npos || close == at + command.size()) return;
    text.erase(close, 1);
    text.erase(at, command.size());
  }
}

std::string collapsed(std::string_view text) {
  std::string out;
  for (const char c : trimmed(text)) {
    if (!is_white(c)) {
      out += c;
    } else if (out.back() != ' ') {
      out += ' ';
    }
  }
  return out;
}

std::string bare(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("*'\"[]{}()<>").find(c) == std::string_view::npos) out += c;
  }
  return std::string(trimmed(out));
}

}  // namespace

std::string boxed_answer(std::string_view text) {
  std::string_view command = "\\boxed";
  size_t at = text.rfind(command);
  if (at == std::string_view::npos) {
    command = "\\fbox";
    at = text.rfind(command);
  }
  constexpr const char* kNone = "None";
  if (at == std::string_view::npos || text.substr(at + command.size()).substr(0, 1) != "{") return kNone;
  std::string_view inside = braced(text, at);
  if (inside.empty()) return kNone;
  inside = inside.substr(1, inside.size() - 2);
  if (inside.size() > 1 && inside.front() == '{' && inside.back() == '}') inside = inside.substr(1, inside.size() - 2);
  if (inside.empty()) return kNone;
  std::string out(inside);
  unwrap(out, "\\text{");
  unwrap(out, "\\boxed{");
  for (const char* part : {"\\[", "\\]", "\\"}) erase_all(out, part);
  out = collapsed(out);
  for (const char* quote : {"\"", "'"}) erase_all(out, quote);
  std::replace(out.begin(), out.end(), '~', ' ');
  return std::string(trimmed(out));
}

std::map<std::string, std::string> stated_values(std::string_view text) {
  constexpr std::string_view kOf = "value of ";
  constexpr std::string_view kEnds = ",.;:\n";
  const std::string low = lower_case(text);
  std::map<std::string, std::string> out;
  for (size_t at = low.find(kOf); at != std::string::npos; at = low.find(kOf, at + 1)) {
    const size_t key = at + kOf.size();
    const size_t line = std::min(low.find_first_of(kEnds, key), low.size());
    const size_t is = std::min(low.find(" is ", key), low.find(" was ", key));
    if (is == std::string::npos || is >= line) continue;
    size_t value = low.find(' ', is + 1) + 1;
    while (value < low.size() && (low[value] == ' ' || low[value] == ':')) ++value;
    const size_t end = std::min(low.find_first_of(kEnds, value), low.size());
    const std::string name = bare(std::string_view(low).substr(key, is - key));
    const std::string told = bare(std::string_view(low).substr(value, end - value));
    if (!name.empty() && !told.empty()) out[name] = told;
  }
  return out;
}

double share_of_current_values(std::string_view answer, const std::vector<std::string>& references) {
  const std::map<std::string, std::string> told = stated_values(answer);
  size_t keys = 0, right = 0;
  for (const std::string& reference : references) {
    for (const auto& [key, value] : stated_values(reference)) {
      ++keys;
      const auto found = told.find(key);
      right += found != told.end() && found->second == value ? 1 : 0;
    }
  }
  return keys == 0 ? 0 : static_cast<double>(right) / static_cast<double>(keys);
}

}  // namespace loci

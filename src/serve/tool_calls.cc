#include "serve/tool_calls.h"

#include <algorithm>

#include "base/error.h"

namespace loci {

using nlohmann::ordered_json;

namespace {

// The end of the JSON object that begins at `begin`, or npos.
size_t object_end(std::string_view text, size_t begin) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = begin; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        quoted = false;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (--depth == 0) return i + 1;
    }
  }
  return std::string_view::npos;
}

std::string text_of(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

bool known_tool(const ordered_json& tools, const std::string& name) {
  for (const auto& tool : tools) {
    if (tool.contains("function") && tool["function"].value("name", "") == name) return true;
  }
  return false;
}

}  // namespace

ToolCalls find_tool_calls(std::string_view text, const ordered_json& tools, const std::string& id) {
  constexpr std::string_view kOpen = "<tool_call>";
  constexpr size_t kMostCalls = 64;
  ToolCalls out;
  out.calls = ordered_json::array();
  size_t content_end = std::string_view::npos;
  for (size_t at = text.find('{'); at != std::string_view::npos && out.calls.size() < kMostCalls;) {
    const size_t end = object_end(text, at);
    if (end == std::string_view::npos) break;
    const Result<ordered_json> parsed = parse_bounded_ordered_json(text.substr(at, end - at), "a call", kToolArguments);
    const ordered_json call = parsed.ok() ? *parsed : ordered_json();
    if (call.is_object() && call.contains("name") && call["name"].is_string() &&
        known_tool(tools, call["name"].get<std::string>())) {
      const char* const key = call.contains("arguments") ? "arguments" : "parameters";
      const ordered_json arguments = call.contains(key) ? call[key] : ordered_json::object();
      out.calls.push_back(
          {{"id", fmt::format("call_{}_{}", id, out.calls.size())},
           {"type", "function"},
           {"function",
            {{"name", call["name"]},
             {"arguments", arguments.is_string() ? arguments.get<std::string>() : text_of(arguments)}}}});
      content_end = std::min(content_end, at);
    }
    at = text.find('{', end);
  }
  std::string_view content = text.substr(0, content_end);
  if (const size_t tag = content.rfind(kOpen); !out.calls.empty() && tag != std::string_view::npos)
    content = content.substr(0, tag);
  if (!out.calls.empty()) {
    while (!content.empty() && (content.back() == '\n' || content.back() == ' ')) content.remove_suffix(1);
  }
  out.content = std::string(content);
  return out;
}

}  // namespace loci

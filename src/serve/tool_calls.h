// Calls of functions in what a model wrote.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/bounded_json.h"

namespace loci {

// Of a call's arguments, as a model wrote them or a client sends them back.
inline constexpr JsonLimits kToolArguments{.bytes = size_t{1} << 20, .depth = 64, .values = 100'000};

// JSON objects with a "name" of one of `tools` and "arguments" (or "parameters"), in <tool_call> tags, in a code block
// or alone. Without one, `calls` is empty and `content` all of the text.
struct ToolCalls {
  std::string content;           // the text before the first of them
  nlohmann::ordered_json calls;  // [{"id", "type", "function": {"name", "arguments"}}]
};
ToolCalls find_tool_calls(std::string_view text, const nlohmann::ordered_json& tools, const std::string& id);

}  // namespace loci

// Requests of /v1/responses: what is asked there in other words is brought into those of a chat.
#include "base/error.h"
#include "serve/request_parts.h"

namespace loci {

using json = nlohmann::ordered_json;
using namespace request_parts;

namespace {

constexpr size_t kMostItems = 4096;

// A message, a call that the model made, or what came of it.
ChatMessage read_item(const json& value, size_t index, const RequestLimits& limits, std::optional<ApiError>& problem) {
  Fields fields(value, fmt::format("input[{}]", index), problem);
  const std::string type = fields.text("type", 64).value_or("message");
  ChatMessage out;
  fields.ignore({"id", "status"});
  if (type == "message") {
    out.role = read_role(fields);
    if (const json* content = fields.find("content")) {
      out.content = read_content(*content, {"input_text", "output_text", "text"}, fields, limits, problem);
    } else {
      fields.wrong("content", "it is missing", "missing_required_parameter");
    }
  } else if (type == "function_call") {
    out.role = "assistant";
    fields.ignore({"call_id"});
    const std::string name = fields.text("name", kMostNameBytes).value_or("");
    out.content = call_text(name, fields.text("arguments", limits.text_bytes).value_or("{}"));
  } else if (type == "function_call_output") {
    out.role = "tool";
    fields.ignore({"call_id"});
    out.content = fields.text("output", limits.text_bytes).value_or("");
  } else {
    fields.wrong("type", fmt::format("'{}' is none of message, function_call, function_call_output", type),
                 "unsupported_value");
  }
  fields.refuse_unknown();
  return out;
}

void read_input(Fields& fields, const RequestLimits& limits, CompletionRequest& out, std::optional<ApiError>& problem) {
  out.instructions = fields.text("instructions", limits.text_bytes).value_or("");
  if (!out.instructions.empty()) out.messages.push_back({.role = "system", .content = out.instructions});
  const json* input = fields.find("input");
  if (input == nullptr) {
    fields.wrong("input", "it is missing", "missing_required_parameter");
  } else if (input->is_string()) {
    out.messages.push_back({.role = "user", .content = fields.text("input", limits.text_bytes).value_or("")});
  } else if (const json* items = fields.array("input", kMostItems)) {
    if (items->empty()) fields.wrong("input", "at least one item is needed");
    for (size_t i = 0; i < items->size() && !problem; ++i)
      out.messages.push_back(read_item((*items)[i], i, limits, problem));
  }
}

// "text": {"format": {"type": "json_schema", "name", "schema"}}.
void read_text_format(Fields& fields, CompletionRequest& out, std::optional<ApiError>& problem) {
  const json* text = fields.object("text");
  if (text == nullptr) return;
  Fields outer(*text, "text", problem);
  outer.ignore({"verbosity"});
  if (const json* format = outer.object("format")) {
    Fields of(*format, "text.format", problem);
    const std::string type = of.text("type", 64).value_or("");
    if (type == "json_schema") {
      read_schema(of);
      if (!problem) out.response_format = {{"type", type}, {"json_schema", {{"schema", (*format)["schema"]}}}};
    } else if (type == "json_object") {
      out.response_format = {{"type", type}};
    } else if (type != "text") {
      of.wrong("type", fmt::format("'{}' is none of text, json_object, json_schema", type));
    }
    of.refuse_unknown();
    out.text_format = *format;
  }
  outer.refuse_unknown();
}

void read_flat_tools(Fields& fields, CompletionRequest& out, std::optional<ApiError>& problem) {
  if (const json* tools = fields.array("tools", kMostTools)) {
    json nested = json::array();
    for (size_t i = 0; i < tools->size() && !problem; ++i) {
      Fields tool((*tools)[i], fmt::format("tools[{}]", i), problem);
      if (tool.text("type", 64).value_or("") != "function")
        tool.wrong("type", "only 'function' is supported", "unsupported_value");
      read_function(tool);
      tool.refuse_unknown();
      if (problem) return;
      json function = (*tools)[i];
      function.erase("type");
      nested.push_back({{"type", "function"}, {"function", std::move(function)}});
    }
    out.given_tools = *tools;
    if (!nested.empty()) out.tools = std::move(nested);
  }
  if (const json* choice = fields.find("tool_choice")) {
    out.tool_choice = out.given_tool_choice = *choice;
    if (choice->is_object()) {
      Fields of(*choice, "tool_choice", problem);
      of.ignore({"type"});
      const std::string name = of.text("name", 64).value_or("");
      if (name.empty()) of.wrong("name", "it is missing", "missing_required_parameter");
      of.refuse_unknown();
      out.tool_choice = {{"type", "function"}, {"function", {{"name", name}}}};
    }
    check_tool_choice(fields, out);
  }
  fields.flag("parallel_tool_calls");
}

}  // namespace

ReadRequest read_response_request(const json& body, const RequestLimits& limits) {
  std::optional<ApiError> problem;
  Fields fields(body, "", problem);
  CompletionRequest out;
  out.kind = AnswerKind::kResponse;
  read_shared(fields, limits, out);
  read_input(fields, limits, out, problem);
  if (const auto most = fields.integer("max_output_tokens", 1, INT32_MAX))
    out.max_tokens = static_cast<uint32_t>(*most);
  read_text_format(fields, out, problem);
  read_flat_tools(fields, out, problem);
  // No answer is kept, so none can be gone on from by its name: the conversation comes with each request.
  fields.only("previous_response_id", nullptr);
  fields.only("conversation", nullptr);
  fields.only("background", false);
  fields.only("truncation", "disabled");
  fields.only("include", json::array());
  fields.only("top_logprobs", 0);
  fields.ignore({"reasoning", "prompt_cache_retention"});
  if (const json* options = fields.object("stream_options")) {
    Fields inner(*options, "stream_options", problem);
    inner.ignore({"include_obfuscation"});
    inner.refuse_unknown();
  }
  return finish(fields, problem, std::move(out));
}

}  // namespace loci

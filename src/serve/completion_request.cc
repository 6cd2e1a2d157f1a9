#include "serve/completion_request.h"

#include "base/error.h"
#include "serve/memory_event.h"
#include "serve/request_parts.h"

namespace loci {

using json = nlohmann::ordered_json;
using namespace request_parts;

namespace {

constexpr size_t kMostStops = 16;
constexpr size_t kMostStopBytes = 4096;

void read_stop(Fields& fields, CompletionRequest& out) {
  const json* stop = fields.find("stop");
  if (stop == nullptr) return;
  const auto add = [&](const json& text) {
    if (!text.is_string()) {
      fields.wrong("stop", fmt::format("strings are expected, but this is {}", kind_of(text)), "invalid_type");
    } else if (text.get_ref<const std::string&>().empty() ||
               text.get_ref<const std::string&>().size() > kMostStopBytes) {
      fields.wrong("stop", fmt::format("each string must have 1 to {} bytes", kMostStopBytes));
    } else {
      out.stop.push_back(text.get<std::string>());
    }
  };
  if (stop->is_array()) {
    if (fields.array("stop", kMostStops) == nullptr) return;
    for (const json& text : *stop) add(text);
  } else {
    add(*stop);
  }
}

// What both kinds of completion have.
void read_common(Fields& fields, const RequestLimits& limits, CompletionRequest& out,
                 std::optional<ApiError>& problem) {
  read_shared(fields, limits, out);
  read_stop(fields, out);
  if (const auto most = fields.integer("max_tokens", 1, INT32_MAX)) out.max_tokens = static_cast<uint32_t>(*most);
  out.choices = static_cast<uint32_t>(fields.integer("n", 1, limits.choices).value_or(1));
  if (const json* options = fields.object("stream_options")) {
    Fields inner(*options, "stream_options", problem);
    out.stream_usage = inner.flag("include_usage").value_or(false);
    inner.ignore({"include_obfuscation"});
    inner.refuse_unknown();
    if (!out.stream) fields.wrong("stream_options", "it has a meaning with 'stream': true only");
  }
  out.memory = read_memory(fields, out.stream, problem);
}

ChatMessage read_message(const json& value, size_t index, const RequestLimits& limits,
                         std::optional<ApiError>& problem) {
  Fields fields(value, fmt::format("messages[{}]", index), problem);
  ChatMessage out;
  out.role = read_role(fields);
  if (const json* content = fields.find("content")) {
    out.content = read_content(*content, {"text"}, fields, limits, problem);
  } else if (out.role != "assistant") {
    fields.wrong("content", "it is missing", "missing_required_parameter");
  }
  if (const json* calls = fields.array("tool_calls", kMostTools)) {
    if (out.role != "assistant") fields.wrong("tool_calls", "only an assistant's message has them");
    // As the model wrote them: one object a line.
    for (size_t i = 0; i < calls->size() && !problem; ++i) {
      Fields call((*calls)[i], fmt::format("messages[{}].tool_calls[{}]", index, i), problem);
      call.ignore({"id", "type", "index"});
      const json* function = call.object("function");
      if (function == nullptr) {
        call.wrong("function", "it is missing", "missing_required_parameter");
        break;
      }
      Fields of(*function, call.path("function"), problem);
      const std::string name = of.text("name", kMostNameBytes).value_or("");
      const std::string arguments = of.text("arguments", limits.text_bytes).value_or("{}");
      if (!out.content.empty()) out.content += '\n';
      out.content += call_text(name, arguments);
    }
  }
  fields.ignore({"name", "tool_call_id", "refusal", "audio", "annotations", "function_call", "reasoning_content"});
  fields.refuse_unknown();
  return out;
}

void read_messages(Fields& fields, const RequestLimits& limits, CompletionRequest& out,
                   std::optional<ApiError>& problem) {
  const json* messages = fields.array("messages", limits.messages);
  if (messages == nullptr || messages->empty()) {
    fields.wrong("messages", "at least one message is needed", "missing_required_parameter");
    return;
  }
  for (size_t i = 0; i < messages->size() && !problem; ++i)
    out.messages.push_back(read_message((*messages)[i], i, limits, problem));
}

void read_tools(Fields& fields, CompletionRequest& out, std::optional<ApiError>& problem) {
  if (const json* tools = fields.array("tools", kMostTools)) {
    for (size_t i = 0; i < tools->size() && !problem; ++i) {
      Fields tool((*tools)[i], fmt::format("tools[{}]", i), problem);
      if (tool.text("type", 64).value_or("") != "function")
        tool.wrong("type", "only 'function' is supported", "unsupported_value");
      const json* function = tool.object("function");
      if (function == nullptr) {
        tool.wrong("function", "it is missing", "missing_required_parameter");
        break;
      }
      Fields of(*function, tool.path("function"), problem);
      read_function(of);
      of.refuse_unknown();
      tool.refuse_unknown();
    }
    if (!tools->empty()) out.tools = *tools;
  }
  if (const json* choice = fields.find("tool_choice")) {
    if (choice->is_object()) {
      Fields of(*choice, "tool_choice", problem);
      of.ignore({"type"});
      const json* function = of.object("function");
      if (function == nullptr || !function->contains("name") || !(*function)["name"].is_string())
        of.wrong("function", "an object with a name is expected", "missing_required_parameter");
      of.refuse_unknown();
    }
    out.tool_choice = *choice;
    check_tool_choice(fields, out);
  }
  fields.flag("parallel_tool_calls");
}

void read_response_format(Fields& fields, CompletionRequest& out, std::optional<ApiError>& problem) {
  const json* format = fields.object("response_format");
  if (format == nullptr) return;
  Fields of(*format, "response_format", problem);
  const std::string type = of.text("type", 64).value_or("");
  if (type != "text" && type != "json_object" && type != "json_schema")
    of.wrong("type", fmt::format("'{}' is none of text, json_object, json_schema", type));
  if (type == "json_schema") {
    const json* outer = of.object("json_schema");
    if (outer == nullptr) {
      of.wrong("json_schema", "it is missing", "missing_required_parameter");
      return;
    }
    Fields inner(*outer, "response_format.json_schema", problem);
    read_schema(inner);
    inner.refuse_unknown();
  }
  of.refuse_unknown();
  if (type != "text") out.response_format = *format;
}

}  // namespace

ReadRequest read_chat_request(const json& body, const RequestLimits& limits) {
  std::optional<ApiError> problem;
  Fields fields(body, "", problem);
  CompletionRequest out;
  read_common(fields, limits, out, problem);
  read_messages(fields, limits, out, problem);
  if (const auto most = fields.integer("max_completion_tokens", 1, INT32_MAX))
    out.max_tokens = static_cast<uint32_t>(*most);
  out.logprobs = fields.flag("logprobs").value_or(false);
  if (const auto top = fields.integer("top_logprobs", 0, 20)) {
    out.top_logprobs = static_cast<uint32_t>(*top);
    if (!out.logprobs) fields.wrong("top_logprobs", "it has a meaning with 'logprobs': true only");
  }
  read_response_format(fields, out, problem);
  read_tools(fields, out, problem);
  fields.only("modalities", json::array({"text"}));
  fields.only("audio", nullptr);
  fields.ignore({"reasoning_effort", "verbosity", "prediction"});
  return finish(fields, problem, std::move(out));
}

ReadRequest read_completion_request(const json& body, const RequestLimits& limits) {
  std::optional<ApiError> problem;
  Fields fields(body, "", problem);
  CompletionRequest out;
  out.kind = AnswerKind::kText;
  read_common(fields, limits, out, problem);
  read_texts(fields, "prompt", limits, out.prompts);
  if (const auto top = fields.integer("logprobs", 0, 20)) {
    out.logprobs = true;
    out.top_logprobs = static_cast<uint32_t>(*top);
  }
  out.echo = fields.flag("echo").value_or(false);
  if (out.echo && out.logprobs) fields.wrong("echo", "it cannot be combined with 'logprobs'", "unsupported_value");
  if (const auto best = fields.integer("best_of", 1, limits.choices); best && *best != out.choices)
    fields.wrong("best_of", "it must equal 'n'", "unsupported_value");
  fields.only("suffix", "");
  if (!problem && out.prompts.size() * out.choices > limits.choices * size_t{4})
    fields.wrong("prompt", fmt::format("prompts times 'n' may be {} at most", limits.choices * 4));
  read_response_format(fields, out, problem);
  return finish(fields, problem, std::move(out));
}

}  // namespace loci

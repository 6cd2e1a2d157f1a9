#include "serve/completion_request.h"

#include <algorithm>
#include <charconv>

#include "attention/plan/plan.h"
#include "base/error.h"
#include "serve/fields.h"
#include "serve/memory_event.h"

namespace loci {
namespace {

using nlohmann::json;

constexpr size_t kMostStops = 16;
constexpr size_t kMostStopBytes = 4096;
constexpr size_t kMostNameBytes = 512;
constexpr size_t kMostPlanBytes = 4096;
constexpr size_t kMostBiases = 1024;
constexpr size_t kMostParts = 1024;
constexpr size_t kMostPrompts = 64;

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

void read_biases(Fields& fields, const RequestLimits& limits, Sampling& sampling) {
  const json* biases = fields.object("logit_bias");
  if (biases == nullptr) return;
  if (biases->size() > kMostBiases) {
    fields.wrong("logit_bias", fmt::format("there are {} biases, at most {} are allowed", biases->size(), kMostBiases));
    return;
  }
  for (const auto& [key, value] : biases->items()) {
    uint32_t token = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token >= limits.vocabulary) {
      fields.wrong("logit_bias",
                   fmt::format("'{}' is no token of the {} in the vocabulary", key.substr(0, 64), limits.vocabulary));
    } else if (!value.is_number() || !(value.get<double>() >= -100 && value.get<double>() <= 100)) {
      fields.wrong("logit_bias", "a bias must be a number in [-100, 100]");
    } else {
      sampling.logit_bias.push_back({static_cast<TokenId>(token), value.get<float>()});
    }
  }
}

void read_sampling(Fields& fields, const RequestLimits& limits, CompletionRequest& out) {
  Sampling& sampling = out.sampling;
  sampling.temperature = static_cast<float>(fields.number("temperature", 0, 2).value_or(1.0));
  sampling.top_p = static_cast<float>(fields.number("top_p", 0, 1).value_or(1.0));
  sampling.min_p = static_cast<float>(fields.number("min_p", 0, 1).value_or(0.0));
  sampling.top_k = static_cast<uint32_t>(fields.integer("top_k", 0, INT32_MAX).value_or(0));
  sampling.presence_penalty = static_cast<float>(fields.number("presence_penalty", -2, 2).value_or(0.0));
  sampling.frequency_penalty = static_cast<float>(fields.number("frequency_penalty", -2, 2).value_or(0.0));
  sampling.repetition_penalty = static_cast<float>(fields.number("repetition_penalty", 0.01, 100).value_or(1.0));
  if (const std::optional<uint64_t> seed = fields.seed("seed")) {
    sampling.seed = *seed;
    out.seeded = true;
  }
  read_biases(fields, limits, sampling);
}

// A parameter that names a file: what a request may not choose, or anybody could have any file of this machine read.
std::optional<std::string> named_file(const AttentionPlan& plan) {
  for (const Stage stage : kStages) {
    for (const loci::Answer& answer : plan.answers(stage)) {
      for (const MethodCall& call : answer.calls) {
        for (size_t i = 0; i < call.values.size(); ++i) {
          const Parameter& parameter = call.method->parameters[i];
          if (parameter.kind == ParameterKind::kText && call.values[i] != parameter.fallback)
            return fmt::format("{}'s parameter '{}'", call.method->name, parameter.name);
        }
      }
    }
  }
  return std::nullopt;
}

void read_attention(Fields& fields, CompletionRequest& out) {
  out.attention = fields.text("attention", kMostPlanBytes).value_or("");
  if (out.attention.empty()) return;
  const Result<AttentionPlan> plan = AttentionPlan::parse(out.attention);
  if (!plan.ok()) {
    fields.wrong("attention", plan.error().message);
  } else if (const auto file = named_file(*plan)) {
    fields.wrong("attention", fmt::format("{} names a file, which a request may not; leave it out", *file));
  }
}

// What both kinds of request have.
void read_common(Fields& fields, const RequestLimits& limits, CompletionRequest& out,
                 std::optional<ApiError>& problem) {
  out.model = fields.text("model", kMostNameBytes).value_or("");
  read_sampling(fields, limits, out);
  read_stop(fields, out);
  if (const auto most = fields.integer("max_tokens", 1, INT32_MAX)) out.max_tokens = static_cast<uint32_t>(*most);
  out.choices = static_cast<uint32_t>(fields.integer("n", 1, limits.choices).value_or(1));
  out.stream = fields.flag("stream").value_or(false);
  if (const json* options = fields.object("stream_options")) {
    Fields inner(*options, "stream_options", problem);
    out.stream_usage = inner.flag("include_usage").value_or(false);
    inner.ignore({"include_obfuscation"});
    inner.refuse_unknown();
    if (!out.stream) fields.wrong("stream_options", "it has a meaning with 'stream': true only");
  }
  out.memory = read_memory(fields, out.stream, problem);
  out.ignore_eos = fields.flag("ignore_eos").value_or(false);
  read_attention(fields, out);
  out.cache_salt = fields.text("cache_salt", kMostNameBytes).value_or("");
  out.task = fields.text("task", kMostNameBytes).value_or("");
  fields.ignore({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"});
}

// A string, or an array of parts of text.
std::string read_content(const json& content, Fields& fields, const RequestLimits& limits,
                         std::optional<ApiError>& problem) {
  if (content.is_string()) {
    if (content.get_ref<const std::string&>().size() > limits.text_bytes)
      fields.wrong("content", fmt::format("the text is larger than {} bytes", limits.text_bytes));
    return content.get<std::string>();
  }
  if (!content.is_array()) {
    fields.wrong("content", fmt::format("a string or an array is expected, but this is {}", kind_of(content)),
                 "invalid_type");
    return {};
  }
  if (content.size() > kMostParts) {
    fields.wrong("content", fmt::format("there are {} parts, at most {} are allowed", content.size(), kMostParts));
    return {};
  }
  std::string out;
  for (size_t i = 0; i < content.size() && !problem; ++i) {
    Fields part(content[i], fields.path(fmt::format("content[{}]", i)), problem);
    const std::string type = part.text("type", 64).value_or("");
    if (type != "text")
      part.wrong("type", fmt::format("'{}' is not supported, only 'text' is", type), "unsupported_value");
    const std::optional<std::string> text = part.text("text", limits.text_bytes);
    if (!text) part.wrong("text", "it is missing", "missing_required_parameter");
    out += text.value_or("");
    part.refuse_unknown();
  }
  return out;
}

ChatMessage read_message(const json& value, size_t index, const RequestLimits& limits,
                         std::optional<ApiError>& problem) {
  Fields fields(value, fmt::format("messages[{}]", index), problem);
  ChatMessage out;
  const std::optional<std::string> role = fields.text("role", 64);
  if (!role) {
    fields.wrong("role", "it is missing", "missing_required_parameter");
    return out;
  }
  out.role = *role == "developer" ? "system" : *role;
  if (out.role != "system" && out.role != "user" && out.role != "assistant" && out.role != "tool") {
    fields.wrong("role", fmt::format("'{}' is none of system, developer, user, assistant, tool", *role));
  }
  if (const json* content = fields.find("content")) {
    out.content = read_content(*content, fields, limits, problem);
  } else if (out.role != "assistant") {
    fields.wrong("content", "it is missing", "missing_required_parameter");
  }
  if (const json* calls = fields.array("tool_calls", 128)) {
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
      const json parsed = json::parse(arguments, nullptr, /*allow_exceptions=*/false);
      const json line = {{"name", name}, {"arguments", parsed.is_discarded() ? json(arguments) : parsed}};
      out.content += fmt::format("{}<tool_call>\n{}\n</tool_call>", out.content.empty() ? "" : "\n",
                                 line.dump(-1, ' ', false, json::error_handler_t::replace));
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

std::vector<TokenId> read_tokens(const json& array, Fields& fields, const RequestLimits& limits) {
  std::vector<TokenId> out;
  if (array.size() > limits.context) {
    fields.wrong("prompt",
                 fmt::format("the prompt has {} tokens, but the context holds {}", array.size(), limits.context),
                 "context_length_exceeded");
    return out;
  }
  for (const json& id : array) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= limits.vocabulary) {
      fields.wrong("prompt", fmt::format("{} is no token of the {} in the vocabulary", id.dump().substr(0, 64),
                                         limits.vocabulary));
      return out;
    }
    out.push_back(id.get<TokenId>());
  }
  return out;
}

// A string, strings, tokens, or arrays of tokens.
void read_prompts(Fields& fields, const RequestLimits& limits, CompletionRequest& out) {
  const json* prompt = fields.find("prompt");
  if (prompt == nullptr) {
    fields.wrong("prompt", "it is missing", "missing_required_parameter");
    return;
  }
  const auto add_text = [&](const json& text) {
    if (text.get_ref<const std::string&>().size() > limits.text_bytes) {
      fields.wrong("prompt", fmt::format("the text is larger than {} bytes", limits.text_bytes));
    }
    out.prompts.emplace_back(text.get<std::string>());
  };
  if (prompt->is_string()) {
    add_text(*prompt);
    return;
  }
  if (!prompt->is_array() || prompt->empty()) {
    fields.wrong("prompt", "a string, an array of strings, of tokens or of arrays of tokens is expected",
                 "invalid_type");
    return;
  }
  if (prompt->front().is_number()) {
    out.prompts.emplace_back(read_tokens(*prompt, fields, limits));
    return;
  }
  if (prompt->size() > kMostPrompts) {
    fields.wrong("prompt", fmt::format("there are {} prompts, at most {} are allowed", prompt->size(), kMostPrompts));
    return;
  }
  for (const json& one : *prompt) {
    if (one.is_string()) {
      add_text(one);
    } else if (one.is_array()) {
      out.prompts.emplace_back(read_tokens(one, fields, limits));
    } else {
      fields.wrong("prompt", fmt::format("strings or arrays of tokens are expected, but this is {}", kind_of(one)),
                   "invalid_type");
      return;
    }
  }
}

void read_tools(Fields& fields, CompletionRequest& out, std::optional<ApiError>& problem) {
  if (const json* tools = fields.array("tools", 128)) {
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
      if (of.text("name", 64).value_or("").empty()) of.wrong("name", "it is missing", "missing_required_parameter");
      of.text("description", 1 << 16);
      of.object("parameters");
      of.flag("strict");
      of.refuse_unknown();
      tool.refuse_unknown();
    }
    if (!tools->empty()) out.tools = *tools;
  }
  if (const json* choice = fields.find("tool_choice")) {
    if (choice->is_string()) {
      const auto& word = choice->get_ref<const std::string&>();
      if (word != "none" && word != "auto" && word != "required")
        fields.wrong("tool_choice", "it must be 'none', 'auto', 'required' or name a function");
    } else if (!choice->is_object()) {
      fields.wrong("tool_choice", fmt::format("a string or an object is expected, but this is {}", kind_of(*choice)),
                   "invalid_type");
    } else {
      Fields of(*choice, "tool_choice", problem);
      of.ignore({"type"});
      const json* function = of.object("function");
      if (function == nullptr || !function->contains("name") || !(*function)["name"].is_string())
        of.wrong("function", "an object with a name is expected", "missing_required_parameter");
      of.refuse_unknown();
    }
    if (out.tools.is_null() && *choice != "none" && *choice != "auto")
      fields.wrong("tool_choice", "there are no tools to choose from");
    out.tool_choice = *choice;
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
    inner.text("name", 64);
    inner.text("description", 1 << 16);
    inner.flag("strict");
    if (const json* schema = inner.find("schema"); schema == nullptr || !schema->is_object())
      inner.wrong("schema", "an object is expected", "missing_required_parameter");
    inner.refuse_unknown();
  }
  of.refuse_unknown();
  if (type != "text") out.response_format = *format;
}

std::variant<CompletionRequest, ApiError> finish(Fields& fields, std::optional<ApiError>& problem,
                                                 CompletionRequest&& out) {
  fields.refuse_unknown();
  if (problem) return *problem;
  return std::move(out);
}

}  // namespace

std::variant<CompletionRequest, ApiError> read_chat_request(const json& body, const RequestLimits& limits) {
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

std::variant<CompletionRequest, ApiError> read_completion_request(const json& body, const RequestLimits& limits) {
  std::optional<ApiError> problem;
  Fields fields(body, "", problem);
  CompletionRequest out;
  out.chat = false;
  read_common(fields, limits, out, problem);
  read_prompts(fields, limits, out);
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

#include "serve/request_parts.h"

#include <algorithm>
#include <charconv>

#include "attention/plan/plan.h"
#include "base/error.h"
#include "serve/tool_calls.h"

namespace loci::request_parts {

using json = nlohmann::ordered_json;

namespace {

constexpr size_t kMostPlanBytes = 4096;
constexpr size_t kMostBiases = 1024;
constexpr size_t kMostParts = 1024;
constexpr size_t kMostTexts = 64;

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

std::vector<TokenId> read_tokens(const json& array, std::string_view name, Fields& fields,
                                 const RequestLimits& limits) {
  std::vector<TokenId> out;
  if (array.size() > limits.context) {
    fields.wrong(name, fmt::format("the prompt has {} tokens, but the context holds {}", array.size(), limits.context),
                 "context_length_exceeded");
    return out;
  }
  for (const json& id : array) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= limits.vocabulary) {
      fields.wrong(
          name, fmt::format("{} is no token of the {} in the vocabulary", id.dump().substr(0, 64), limits.vocabulary));
      return out;
    }
    out.push_back(id.get<TokenId>());
  }
  return out;
}

}  // namespace

void read_attention(Fields& fields, std::string& attention) {
  attention = fields.text("attention", kMostPlanBytes).value_or("");
  if (attention.empty()) return;
  const Result<AttentionPlan> plan = AttentionPlan::parse(attention);
  if (!plan.ok()) {
    fields.wrong("attention", plan.error().message);
  } else if (const auto file = named_file(*plan)) {
    fields.wrong("attention", fmt::format("{} names a file, which a request may not; leave it out", *file));
  }
}

void read_shared(Fields& fields, const RequestLimits& limits, CompletionRequest& out) {
  out.model = fields.text("model", kMostNameBytes).value_or("");
  read_sampling(fields, limits, out);
  out.stream = fields.flag("stream").value_or(false);
  out.ignore_eos = fields.flag("ignore_eos").value_or(false);
  read_attention(fields, out.attention);
  out.cache_salt = fields.text("cache_salt", kMostNameBytes).value_or("");
  out.task = fields.text("task", kMostNameBytes).value_or("");
  fields.ignore({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"});
}

std::string read_content(const json& content, std::initializer_list<std::string_view> kinds, Fields& fields,
                         const RequestLimits& limits, std::optional<ApiError>& problem) {
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
    if (std::find(kinds.begin(), kinds.end(), type) == kinds.end())
      part.wrong("type", fmt::format("'{}' is not supported, only text is", type), "unsupported_value");
    const std::optional<std::string> text = part.text("text", limits.text_bytes);
    if (!text) part.wrong("text", "it is missing", "missing_required_parameter");
    out += text.value_or("");
    part.ignore({"annotations", "logprobs"});
    part.refuse_unknown();
  }
  return out;
}

void read_texts(Fields& fields, std::string_view name, const RequestLimits& limits, std::vector<TextOrTokens>& out) {
  const json* texts = fields.find(name);
  if (texts == nullptr) {
    fields.wrong(name, "it is missing", "missing_required_parameter");
    return;
  }
  const auto add_text = [&](const json& text) {
    if (text.get_ref<const std::string&>().size() > limits.text_bytes) {
      fields.wrong(name, fmt::format("the text is larger than {} bytes", limits.text_bytes));
    }
    out.emplace_back(text.get<std::string>());
  };
  if (texts->is_string()) {
    add_text(*texts);
    return;
  }
  if (!texts->is_array() || texts->empty()) {
    fields.wrong(name, "a string, an array of strings, of tokens or of arrays of tokens is expected", "invalid_type");
    return;
  }
  if (texts->front().is_number()) {
    out.emplace_back(read_tokens(*texts, name, fields, limits));
    return;
  }
  if (texts->size() > kMostTexts) {
    fields.wrong(name, fmt::format("there are {} prompts, at most {} are allowed", texts->size(), kMostTexts));
    return;
  }
  for (const json& one : *texts) {
    if (one.is_string()) {
      add_text(one);
    } else if (one.is_array()) {
      out.emplace_back(read_tokens(one, name, fields, limits));
    } else {
      fields.wrong(name, fmt::format("strings or arrays of tokens are expected, but this is {}", kind_of(one)),
                   "invalid_type");
      return;
    }
  }
}

std::string read_role(Fields& fields) {
  const std::optional<std::string> role = fields.text("role", 64);
  if (!role) {
    fields.wrong("role", "it is missing", "missing_required_parameter");
    return {};
  }
  if (*role == "developer") return "system";
  if (*role != "system" && *role != "user" && *role != "assistant" && *role != "tool")
    fields.wrong("role", fmt::format("'{}' is none of system, developer, user, assistant, tool", *role));
  return *role;
}

void read_function(Fields& function) {
  if (function.text("name", 64).value_or("").empty())
    function.wrong("name", "it is missing", "missing_required_parameter");
  function.text("description", kMostDescriptionBytes);
  function.object("parameters");
  function.flag("strict");
}

void read_schema(Fields& format) {
  format.text("name", 64);
  format.text("description", kMostDescriptionBytes);
  format.flag("strict");
  if (const json* schema = format.find("schema"); schema == nullptr || !schema->is_object())
    format.wrong("schema", "an object is expected", "missing_required_parameter");
}

std::string call_text(const std::string& name, const std::string& arguments) {
  // What is no JSON, or too deep, is text: models write such things, and clients send them back.
  const Result<json> parsed = parse_bounded_ordered_json(arguments, "the arguments", kToolArguments);
  const json line = {{"name", name}, {"arguments", parsed.ok() ? *parsed : json(arguments)}};
  return fmt::format("<tool_call>\n{}\n</tool_call>", line.dump(-1, ' ', false, json::error_handler_t::replace));
}

void check_tool_choice(Fields& fields, const CompletionRequest& request) {
  const json& choice = request.tool_choice;
  if (!choice.is_string() && !choice.is_object()) {
    fields.wrong("tool_choice", fmt::format("a string or an object is expected, but this is {}", kind_of(choice)),
                 "invalid_type");
  } else if (choice.is_string() && choice != "none" && choice != "auto" && choice != "required") {
    fields.wrong("tool_choice", "it must be 'none', 'auto', 'required' or name a function");
  } else if (request.tools.is_null() && choice != "none" && choice != "auto") {
    fields.wrong("tool_choice", "there are no tools to choose from");
  }
}

std::variant<CompletionRequest, ApiError> finish(Fields& fields, std::optional<ApiError>& problem,
                                                 CompletionRequest&& out) {
  fields.refuse_unknown();
  if (problem) return *problem;
  return std::move(out);
}

}  // namespace loci::request_parts

// What requests of several routes have in common.
#pragma once

#include "serve/completion_request.h"
#include "serve/fields.h"

namespace loci::request_parts {

inline constexpr size_t kMostNameBytes = 512;
inline constexpr size_t kMostDescriptionBytes = size_t{1} << 16;
inline constexpr size_t kMostTools = 128;

// A plan; one that names a file is refused, or anybody could have any file of this machine read.
void read_attention(Fields& fields, std::string& attention);
// Model, sampling, streaming, and the fields that this server adds.
void read_shared(Fields& fields, const RequestLimits& limits, CompletionRequest& out);
// A string, or an array of parts of text, whose types are `kinds`.
std::string read_content(const nlohmann::ordered_json& content, std::initializer_list<std::string_view> kinds,
                         Fields& fields, const RequestLimits& limits, std::optional<ApiError>& problem);
// A string, strings, tokens, or arrays of tokens.
void read_texts(Fields& fields, std::string_view name, const RequestLimits& limits, std::vector<TextOrTokens>& out);
std::string read_role(Fields& fields);
// "name", "description", "parameters" and "strict" of a function.
void read_function(Fields& function);
// Of a json_schema format: "name", "description", "strict" and "schema".
void read_schema(Fields& format);
// A call as models write it: the form that Hermes and Qwen were trained on.
std::string call_text(const std::string& name, const std::string& arguments);
void check_tool_choice(Fields& fields, const CompletionRequest& request);
std::variant<CompletionRequest, ApiError> finish(Fields& fields, std::optional<ApiError>& problem,
                                                 CompletionRequest&& out);

}  // namespace loci::request_parts

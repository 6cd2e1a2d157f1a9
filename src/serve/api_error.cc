#include "serve/api_error.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace loci {
namespace {

nlohmann::ordered_json or_null(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(text);
}

}  // namespace

std::string ApiError::json() const {
  const nlohmann::ordered_json out = {
      {"error", {{"message", message}, {"type", type}, {"param", or_null(param)}, {"code", or_null(code)}}}};
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

ApiError api_error(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kUnsupported:
      return {.status = 400, .message = error.message, .code = "invalid_value"};
    case ErrorCode::kLimit:
      return {.status = 400, .message = error.message, .code = "limit_exceeded"};
    case ErrorCode::kCancelled:
      return {.status = 503, .message = error.message, .type = "server_error", .code = "cancelled"};
    case ErrorCode::kCorrupt:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return {.status = 500, .message = error.message, .type = "server_error", .code = "internal_error"};
  }
  return {.status = 500, .message = error.message, .type = "server_error"};
}

HttpReply json_reply(int status, std::string json) {
  return {.status = status, .headers = {{"Content-Type", "application/json"}}, .body = std::move(json)};
}

HttpReply error_reply(const ApiError& error) { return json_reply(error.status, error.json()); }

}  // namespace loci

// What goes wrong with a request, in the shape that OpenAI's clients expect.
#pragma once

#include <string>

#include "serve/http.h"

namespace loci {

struct Error;

struct ApiError {
  int status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param = {};  // the field; empty: null
  std::string code = {};   // empty: null

  std::string json() const;  // {"error": {...}}
};

inline const ApiError kLoading = {
    .status = 503, .message = "The model is still being loaded", .type = "server_error", .code = "loading"};
inline const ApiError kShuttingDown = {
    .status = 503, .message = "The server is shutting down", .type = "server_error", .code = "shutting_down"};

// An engine's error: the client's fault or ours.
ApiError api_error(const Error& error);

HttpReply json_reply(int status, std::string json);
HttpReply error_reply(const ApiError& error);

}  // namespace loci

// The request of /v1/embeddings, read and checked, and its answer.
#pragma once

#include <vector>

#include "serve/completion_request.h"

namespace loci {

struct EmbeddingRequest {
  std::string model;
  std::vector<TextOrTokens> inputs;
  bool base64 = false;  // 32-bit floats, little-endian, in base64
  std::string attention;
};

// `width`: of a vector, which is what "dimensions" may ask for.
std::variant<EmbeddingRequest, ApiError> read_embedding_request(const nlohmann::ordered_json& body,
                                                                const RequestLimits& limits, uint32_t width);

nlohmann::ordered_json embeddings_json(const std::string& model, const std::vector<std::vector<float>>& vectors,
                                       bool base64, uint64_t prompt_tokens);

}  // namespace loci

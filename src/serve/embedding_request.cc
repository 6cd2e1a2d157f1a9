#include "serve/embedding_request.h"

#include <openssl/evp.h>

#include "base/error.h"
#include "serve/request_parts.h"

namespace loci {

using json = nlohmann::ordered_json;
using namespace request_parts;

std::variant<EmbeddingRequest, ApiError> read_embedding_request(const json& body, const RequestLimits& limits,
                                                                uint32_t width) {
  std::optional<ApiError> problem;
  Fields fields(body, "", problem);
  EmbeddingRequest out;
  out.model = fields.text("model", kMostNameBytes).value_or("");
  read_texts(fields, "input", limits, out.inputs);
  const std::string format = fields.text("encoding_format", 64).value_or("float");
  if (format != "float" && format != "base64")
    fields.wrong("encoding_format", fmt::format("'{}' is none of float, base64", format));
  out.base64 = format == "base64";
  if (const auto dimensions = fields.integer("dimensions", 1, INT32_MAX); dimensions && *dimensions != width)
    fields.wrong("dimensions", fmt::format("the vectors of this model have {} and cannot be cut", width),
                 "unsupported_value");
  read_attention(fields, out.attention);
  fields.ignore({"user"});
  fields.refuse_unknown();
  if (problem) return *problem;
  return out;
}

namespace {

std::string base64_of(const std::vector<float>& values) {
  const size_t bytes = values.size() * sizeof(float);
  std::string out(4 * ((bytes + 2) / 3) + 1, '\0');  // and the zero that OpenSSL writes
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(values.data()), static_cast<int>(bytes));
  out.resize(static_cast<size_t>(length));
  return out;
}

}  // namespace

json embeddings_json(const std::string& model, const std::vector<std::vector<float>>& vectors, bool base64,
                     uint64_t prompt_tokens) {
  json data = json::array();
  for (size_t i = 0; i < vectors.size(); ++i) {
    json one = {{"object", "embedding"}, {"index", i}};
    one["embedding"] = base64 ? json(base64_of(vectors[i])) : json(vectors[i]);
    data.push_back(std::move(one));
  }
  return {{"object", "list"},
          {"data", std::move(data)},
          {"model", model},
          {"usage", {{"prompt_tokens", prompt_tokens}, {"total_tokens", prompt_tokens}}}};
}

}  // namespace loci

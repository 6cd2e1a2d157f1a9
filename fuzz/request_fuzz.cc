// Any bytes as the body of a request, read as each of the routes reads it: a request or an error of one field.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/assert.h"
#include "io/bounded_json.h"
#include "serve/embedding_request.h"
#include "serve/tool_calls.h"

namespace {

constexpr loci::RequestLimits kLimits{.vocabulary = 1000, .context = 4096};

template <typename Read>
void check(const Read& read) {
  const auto* error = std::get_if<loci::ApiError>(&read);
  if (error == nullptr) return;
  LOCI_ASSERT(error->status == 400 && !error->message.empty(), "what is wrong with a request is told");
  LOCI_ASSERT(nlohmann::json::accept(error->json()), "an error is JSON");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto body = loci::parse_bounded_ordered_json(text, "the body", {.bytes = size, .depth = 64, .values = 100'000});
  if (!body.ok()) return 0;
  check(loci::read_chat_request(*body, kLimits));
  check(loci::read_completion_request(*body, kLimits));
  check(loci::read_response_request(*body, kLimits));
  check(loci::read_embedding_request(*body, kLimits, 64));
  const auto tools = nlohmann::ordered_json::parse(R"([{"type": "function", "function": {"name": "f"}}])");
  (void)loci::find_tool_calls(text, tools, "x");
  return 0;
}

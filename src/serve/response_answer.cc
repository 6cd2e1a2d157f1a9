#include "serve/response_answer.h"

#include "base/error.h"
#include "serve/tool_calls.h"

namespace loci {

using nlohmann::ordered_json;

namespace {

ordered_json text_part(const std::string& text) {
  return {{"type", "output_text"},
          {"text", text},
          {"annotations", ordered_json::array()},
          {"logprobs", ordered_json::array()}};
}

// The message before the calls, and the calls.
std::vector<ordered_json> call_items(const ToolCalls& found) {
  std::vector<ordered_json> out;
  for (const ordered_json& call : found.calls) {
    const std::string id = call["id"];
    out.push_back({{"type", "function_call"},
                   {"id", "fc_" + id},
                   {"call_id", id},
                   {"name", call["function"]["name"]},
                   {"arguments", call["function"]["arguments"]},
                   {"status", "completed"}});
  }
  return out;
}

}  // namespace

ordered_json ResponseAnswer::message(const std::string& text, const char* status) const {
  ordered_json content = ordered_json::array();
  if (std::string_view(status) != "in_progress") content.push_back(text_part(text));
  return {{"type", "message"},
          {"id", message_id()},
          {"status", status},
          {"role", "assistant"},
          {"content", std::move(content)}};
}

// As it stands, with the request's fields in it.
ordered_json ResponseAnswer::response(const char* status, ordered_json output) const {
  const CompletionRequest& asked = request();
  const bool cut = std::string_view(status) == "incomplete";
  ordered_json out = {
      {"id", head().id},
      {"object", "response"},
      {"created_at", head().created},
      {"status", status},
      {"error", nullptr},
      {"incomplete_details", nullptr},
      {"instructions", asked.instructions.empty() ? ordered_json(nullptr) : ordered_json(asked.instructions)},
      {"max_output_tokens", asked.max_tokens ? ordered_json(*asked.max_tokens) : ordered_json(nullptr)},
      {"model", head().model},
      {"output", std::move(output)},
      {"parallel_tool_calls", true},
      {"previous_response_id", nullptr},
      {"store", false},
      {"temperature", asked.sampling.temperature},
      {"top_p", asked.sampling.top_p},
      {"tool_choice", asked.given_tool_choice.is_null() ? ordered_json("auto") : asked.given_tool_choice},
      {"tools", asked.given_tools.is_null() ? ordered_json::array() : asked.given_tools},
      {"text", {{"format", asked.text_format.is_null() ? ordered_json{{"type", "text"}} : asked.text_format}}},
      {"truncation", "disabled"},
      {"metadata", ordered_json::object()}};
  if (cut) out["incomplete_details"] = {{"reason", "max_output_tokens"}};
  const bool ended = cut || std::string_view(status) == "completed";
  out["usage"] = nullptr;
  if (ended) {
    out["usage"] = {{"input_tokens", summary().prompt_tokens},
                    {"input_tokens_details", {{"cached_tokens", summary().cached_tokens}}},
                    {"output_tokens", summary().completion_tokens},
                    {"output_tokens_details", {{"reasoning_tokens", 0}}},
                    {"total_tokens", summary().prompt_tokens + summary().completion_tokens},
                    {"kept_tokens", summary().kept_tokens},
                    {"kv_bytes", summary().kv_bytes}};
  }
  return out;
}

ordered_json ResponseAnswer::finished() const {
  return response(summary().finish == "length" ? "incomplete" : "completed", items_);
}

void ResponseAnswer::send(const char* type, ordered_json fields) {
  ordered_json event = {{"type", type}, {"sequence_number", events_++}};
  event.update(fields);
  write(fmt::format("event: {}\ndata: {}\n\n", type, dump(event)));
}

void ResponseAnswer::begin_events() {
  const ordered_json begun = {{"response", response("in_progress", ordered_json::array())}};
  send("response.created", begun);
  send("response.in_progress", begun);
}

void ResponseAnswer::open_message() {
  if (message_open_) return;
  message_open_ = true;
  send("response.output_item.added", {{"output_index", 0}, {"item", message("", "in_progress")}});
  send("response.content_part.added",
       {{"item_id", message_id()}, {"output_index", 0}, {"content_index", 0}, {"part", text_part("")}});
}

void ResponseAnswer::message_text(const std::string& text) {
  open_message();
  send("response.output_text.delta", {{"item_id", message_id()},
                                      {"output_index", 0},
                                      {"content_index", 0},
                                      {"delta", text},
                                      {"logprobs", ordered_json::array()}});
}

void ResponseAnswer::close_message(const std::string& text) {
  open_message();
  const ordered_json place = {{"item_id", message_id()}, {"output_index", 0}, {"content_index", 0}};
  ordered_json done = place, part = place;
  done.update({{"text", text}, {"logprobs", ordered_json::array()}});
  part["part"] = text_part(text);
  send("response.output_text.done", std::move(done));
  send("response.content_part.done", std::move(part));
  items_.push_back(message(text, summary().finish == "length" ? "incomplete" : "completed"));
  send("response.output_item.done", {{"output_index", 0}, {"item", items_.back()}});
}

void ResponseAnswer::send_call(const ordered_json& item) {
  const ordered_json place = {{"item_id", item["id"]}, {"output_index", items_.size()}};
  ordered_json begun = item, delta = place, done = place;
  begun["status"] = "in_progress";
  begun["arguments"] = "";
  delta["delta"] = item["arguments"];
  done.update({{"name", item["name"]}, {"arguments", item["arguments"]}});
  send("response.output_item.added", {{"output_index", items_.size()}, {"item", begun}});
  send("response.function_call_arguments.delta", std::move(delta));
  send("response.function_call_arguments.done", std::move(done));
  send("response.output_item.done", {{"output_index", items_.size()}, {"item", item}});
  items_.push_back(item);
}

void ResponseAnswer::text_event(uint32_t, const std::string& text) { message_text(text); }

void ResponseAnswer::choice_ended(uint32_t index) {
  const std::string& text = choice(index).text;
  if (!request().has_tools()) return close_message(text);
  const ToolCalls found = find_tool_calls(text, request().tools, head().id);
  if (!found.content.empty() || found.calls.empty()) {
    message_text(found.content);
    close_message(found.content);
  }
  for (const ordered_json& item : call_items(found)) send_call(item);
}

void ResponseAnswer::end_events() {
  const ordered_json out = finished();
  send(out["status"] == "incomplete" ? "response.incomplete" : "response.completed", {{"response", out}});
}

void ResponseAnswer::error_event(const ApiError& error) {
  ordered_json out = response("failed", items_);
  out["error"] = {{"code", error.code}, {"message", error.message}};
  send("response.failed", {{"response", std::move(out)}});
}

ordered_json ResponseAnswer::whole() {
  const std::string& text = choice(0).text;
  const char* const status = summary().finish == "length" ? "incomplete" : "completed";
  if (!request().has_tools()) {
    items_.push_back(message(text, status));
    return finished();
  }
  const ToolCalls found = find_tool_calls(text, request().tools, head().id);
  if (!found.content.empty() || found.calls.empty()) items_.push_back(message(found.content, status));
  for (ordered_json& item : call_items(found)) items_.push_back(std::move(item));
  return finished();
}

}  // namespace loci

#include "io/bounded_json.h"

#include <string>
#include <unordered_set>
#include <vector>

#include "io/printable.h"

namespace loci {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// Keys in the order in which they came are a list, which is not searched: `keys` holds them while the object is open.
bool add_key(ordered_json& object, std::unordered_set<std::string>& keys, const std::string& name) {
  if (!keys.insert(name).second) return false;
  object.get_ref<ordered_json::object_t&>().push_back({name, ordered_json()});
  return true;
}
ordered_json& last_value(ordered_json& object, const std::string&) {
  return object.get_ref<ordered_json::object_t&>().back().second;
}
bool add_key(json& object, std::unordered_set<std::string>&, const std::string& name) {
  return object.get_ref<json::object_t&>().try_emplace(name).second;
}
json& last_value(json& object, const std::string& name) { return object[name]; }

// Builds the document from the parser's events, and stops the parser at the first thing that is not allowed.
template <typename Json>
class Builder final : public nlohmann::json_sax<Json> {
 public:
  using typename nlohmann::json_sax<Json>::number_integer_t;
  using typename nlohmann::json_sax<Json>::number_unsigned_t;
  using typename nlohmann::json_sax<Json>::number_float_t;
  using typename nlohmann::json_sax<Json>::string_t;
  using typename nlohmann::json_sax<Json>::binary_t;

  Builder(std::string_view what, JsonLimits limits) : what_(what), limits_(limits) {}

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(Json(value)); }
  bool number_integer(number_integer_t value) override { return add(Json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return add(Json(value)); }
  bool number_float(number_float_t value, const string_t&) override { return add(Json(value)); }
  bool string(string_t& value) override { return add(Json(std::move(value))); }
  bool binary(binary_t&) override { return stop("holds binary data"); }
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (!add_key(*open_.back().value, open_.back().keys, name))
      return stop(fmt::format("has the key '{}' twice in one object", printable(name)));
    key_ = std::move(name);
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return stop(fmt::format("is not JSON at byte {}", position));
  }

  Result<Json> result() && {
    if (!problem_.empty()) return fail(ErrorCode::kCorrupt, "{} {}", what_, problem_);
    return std::move(root_);
  }

 private:
  bool stop(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }

  // Where the next value goes: the root, the end of an array, or under the last key of an object.
  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back().value;
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    Json& slot = last_value(parent, key_);
    slot = std::move(value);
    return &slot;
  }

  bool add(Json value) {
    if (++count_ > limits_.values) return stop(fmt::format("holds more than the allowed {} values", limits_.values));
    place(std::move(value));
    return true;
  }

  // A pointer to an open container stays good: its parent does not grow until it is closed.
  bool open(Json container) {
    if (open_.size() >= limits_.depth)
      return stop(fmt::format("nests deeper than the allowed {} levels", limits_.depth));
    if (++count_ > limits_.values) return stop(fmt::format("holds more than the allowed {} values", limits_.values));
    open_.push_back({place(std::move(container)), {}});
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  struct Open {
    Json* value;
    std::unordered_set<std::string> keys;  // of an object that is ordered
  };

  std::string_view what_;
  JsonLimits limits_;
  Json root_;
  std::vector<Open> open_;
  std::string key_;
  size_t count_ = 0;
  std::string problem_;
};

template <typename Json>
Result<Json> parse(std::string_view text, std::string_view what, JsonLimits limits) {
  if (text.size() > limits.bytes) {
    return fail(ErrorCode::kLimit, "{} has {} bytes, at most {} are read", what, text.size(), limits.bytes);
  }
  Builder<Json> builder(what, limits);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return std::move(builder).result();
}

}  // namespace

Result<json> parse_bounded_json(std::string_view text, std::string_view what, JsonLimits limits) {
  return parse<json>(text, what, limits);
}

Result<ordered_json> parse_bounded_ordered_json(std::string_view text, std::string_view what, JsonLimits limits) {
  return parse<ordered_json>(text, what, limits);
}

}  // namespace loci

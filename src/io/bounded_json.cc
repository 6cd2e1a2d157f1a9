#include "io/bounded_json.h"

#include <string>
#include <vector>

#include "io/printable.h"

namespace loci {
namespace {

using nlohmann::json;

// Builds the document from the parser's events, and stops the parser at the first thing that is not allowed.
class Builder final : public nlohmann::json_sax<json> {
 public:
  Builder(std::string_view what, JsonLimits limits) : what_(what), limits_(limits) {}

  bool null() override { return add(json()); }
  bool boolean(bool value) override { return add(json(value)); }
  bool number_integer(number_integer_t value) override { return add(json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return add(json(value)); }
  bool number_float(number_float_t value, const string_t&) override { return add(json(value)); }
  bool string(string_t& value) override { return add(json(std::move(value))); }
  bool binary(binary_t&) override { return stop("holds binary data"); }
  bool start_object(size_t) override { return open(json::object()); }
  bool start_array(size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (open_.back()->contains(name)) return stop(fmt::format("has the key '{}' twice in one object", printable(name)));
    key_ = std::move(name);
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return stop(fmt::format("is not JSON at byte {}", position));
  }

  Result<json> result() && {
    if (!problem_.empty()) return fail(ErrorCode::kCorrupt, "{} {}", what_, problem_);
    return std::move(root_);
  }

 private:
  bool stop(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }

  // Where the next value goes: the root, the end of an array, or under the last key of an object.
  json* place(json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    json& slot = (*open_.back())[std::move(key_)];
    slot = std::move(value);
    return &slot;
  }

  bool add(json value) {
    if (++count_ > limits_.values) return stop(fmt::format("holds more than the allowed {} values", limits_.values));
    place(std::move(value));
    return true;
  }

  // A pointer to an open container stays good: its parent does not grow until it is closed.
  bool open(json container) {
    if (open_.size() >= limits_.depth)
      return stop(fmt::format("nests deeper than the allowed {} levels", limits_.depth));
    if (++count_ > limits_.values) return stop(fmt::format("holds more than the allowed {} values", limits_.values));
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view what_;
  JsonLimits limits_;
  json root_;
  std::vector<json*> open_;
  std::string key_;
  size_t count_ = 0;
  std::string problem_;
};

}  // namespace

Result<nlohmann::json> parse_bounded_json(std::string_view text, std::string_view what, JsonLimits limits) {
  if (text.size() > limits.bytes) {
    return fail(ErrorCode::kLimit, "{} has {} bytes, at most {} are read", what, text.size(), limits.bytes);
  }
  Builder builder(what, limits);
  json::sax_parse(text.begin(), text.end(), &builder);
  return std::move(builder).result();
}

}  // namespace loci

#include "io/safetensors_header.h"

#include <nlohmann/json.hpp>
#include <unordered_set>

#include "io/printable.h"

namespace loci {
namespace {

using nlohmann::json;

constexpr size_t kMaxDimensions = 8;

class HeaderReader final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return unexpected("a fraction"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (list_ == nullptr) return unexpected("a number");
    if (list_->size() >= kMaxDimensions) {
      return stop(fmt::format("has a list of more than {} numbers under tensor '{}'", kMaxDimensions, name()));
    }
    list_->push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kNotes) return true;
    if (place_ != Place::kTensor || field_ != "dtype") return unexpected("a string");
    entries_.back().format = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    switch (place_) {
      case Place::kStart:
        place_ = Place::kRoot;
        return true;
      case Place::kRoot:
        place_ = in_notes_ ? Place::kNotes : Place::kTensor;
        return true;
      default:
        return unexpected("an object");
    }
  }

  bool end_object() override {
    if (place_ == Place::kRoot) {
      place_ = Place::kEnd;
      return true;
    }
    const bool tensor = place_ == Place::kTensor;
    place_ = Place::kRoot;
    if (!tensor || fields_ == kAllFields) return true;
    return stop(fmt::format("lacks dtype, shape or data_offsets for tensor '{}'", name()));
  }

  bool start_array(size_t) override {
    if (place_ != Place::kTensor || list_ != nullptr) return unexpected("an array");
    if (field_ == "shape")
      list_ = &entries_.back().shape;
    else if (field_ == "data_offsets")
      list_ = &entries_.back().offsets;
    else
      return unexpected("an array");
    return true;
  }

  bool end_array() override {
    list_ = nullptr;
    return true;
  }

  bool key(string_t& key) override {
    if (place_ == Place::kNotes) return true;
    return place_ == Place::kRoot ? start_entry(key) : start_field(key);
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return stop(fmt::format("is not JSON at byte {}", position));
  }

  Result<std::vector<SafetensorsEntry>> result() && {
    if (!problem_.empty()) return fail(ErrorCode::kCorrupt, "the safetensors header {}", problem_);
    return std::move(entries_);
  }

 private:
  enum class Place { kStart, kRoot, kTensor, kNotes, kEnd };
  static constexpr unsigned kAllFields = 7;

  bool start_entry(std::string& key) {
    if (!names_.insert(key).second) return stop(fmt::format("has the key '{}' twice", printable(key)));
    in_notes_ = key == "__metadata__";
    if (in_notes_) return true;
    fields_ = 0;
    entries_.push_back(SafetensorsEntry{std::move(key), {}, {}, {}});
    return true;
  }

  bool start_field(std::string& key) {
    const unsigned bit = key == "dtype" ? 1 : key == "shape" ? 2 : key == "data_offsets" ? 4 : 0;
    if (bit == 0) return stop(fmt::format("has the unknown field '{}' for tensor '{}'", printable(key), name()));
    if ((fields_ & bit) != 0) return stop(fmt::format("has '{}' twice for tensor '{}'", key, name()));
    fields_ |= bit;
    field_ = std::move(key);
    return true;
  }

  std::string name() const { return entries_.empty() ? std::string("(none)") : printable(entries_.back().name); }

  bool unexpected(std::string_view value) {
    return stop(fmt::format("has {} in a place where the format has none, after tensor '{}'", value, name()));
  }

  bool stop(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }

  Place place_ = Place::kStart;
  bool in_notes_ = false;
  unsigned fields_ = 0;                    // of the current tensor: dtype 1, shape 2, data_offsets 4
  std::string field_;                      // the last key inside a tensor
  std::vector<uint64_t>* list_ = nullptr;  // the open list of the current tensor
  std::vector<SafetensorsEntry> entries_;
  std::unordered_set<std::string> names_;
  std::string problem_;
};

}  // namespace

Result<std::vector<SafetensorsEntry>> read_safetensors_header(std::string_view text) {
  HeaderReader reader;
  json::sax_parse(text.begin(), text.end(), &reader);
  return std::move(reader).result();
}

}  // namespace loci

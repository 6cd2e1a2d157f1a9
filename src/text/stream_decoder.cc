#include "text/tokenizer.h"
#include "text/unicode.h"

namespace loci {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Whether `bytes` could still become one character: a lead byte and some of what must follow.
bool is_unfinished(std::string_view bytes) {
  const auto lead = static_cast<uint8_t>(bytes[0]);
  const size_t wanted = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 1;
  return bytes.size() < wanted && lead <= 0xF4 && utf8_at(bytes, 0).length == bytes.size();
}

// Moves the whole characters of `pending` to the result; invalid sequences become U+FFFD.
std::string take_characters(std::string& pending) {
  std::string out;
  size_t at = 0;
  while (at < pending.size()) {
    const std::string_view rest = std::string_view(pending).substr(at);
    const Utf8Char c = utf8_at(rest, 0);
    if (!c.valid && is_unfinished(rest)) break;
    out += c.valid ? rest.substr(0, c.length) : kReplacement;
    at += c.length;
  }
  pending.erase(0, at);
  return out;
}

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool special) : tokenizer_(tokenizer), special_(special) {}

std::string StreamDecoder::push(TokenId id) {
  const Result<std::string> bytes = tokenizer_.piece(id, special_);
  if (!bytes.ok() || bytes->empty()) return {};
  if (first_) {
    // Alone, the token gets the rule for the start of a text.
    const Result<std::string> at_start = tokenizer_.decode({&id, 1}, special_);
    pending_ += at_start.ok() ? *at_start : std::string();
  } else {
    pending_ += *bytes;
  }
  const Result<std::string> plain = tokenizer_.piece(id, false);
  first_ = plain.ok() && plain->empty();  // after a special token a text starts
  return take_characters(pending_);
}

std::string StreamDecoder::finish() {
  std::string rest = take_characters(pending_);
  if (!pending_.empty()) rest += kReplacement;
  pending_.clear();
  first_ = true;
  return rest;
}

}  // namespace loci

#include "text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/unicode.h"
#include "text/unnormalized_characters.h"

namespace loci {
namespace {

constexpr char32_t kFirstComposable = 0x300;  // text below it is its own NFC

bool is_trivially_normal(std::string_view text, NormalForm form) {
  for (size_t at = 0; at < text.size();) {
    const uint8_t lead = static_cast<uint8_t>(text[at]);
    if (lead < 0x80) {
      ++at;
      continue;
    }
    if (form != NormalForm::kNfc) return false;
    const Utf8Char c = utf8_at(text, at);
    if (c.code >= kFirstComposable) return false;
    at += c.length;
  }
  return true;
}

// Every run of combining marks in the order of their classes. utf8proc's own ordering takes quadratic time.
void order_marks(std::vector<utf8proc_int32_t>& codes) {
  const auto mark_class = [](utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; };
  for (size_t begin = 0; begin < codes.size();) {
    size_t end = begin;
    while (end < codes.size() && mark_class(codes[end]) != 0) ++end;
    if (end - begin > 1) {
      std::stable_sort(codes.begin() + static_cast<ptrdiff_t>(begin), codes.begin() + static_cast<ptrdiff_t>(end),
                       [&](auto a, auto b) { return mark_class(a) < mark_class(b); });
    }
    begin = end + 1;
  }
}

std::vector<utf8proc_int32_t> decompose(std::string_view text, bool compatibility) {
  const int options = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatibility ? UTF8PROC_COMPAT : 0);
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(text.size());
  utf8proc_int32_t parts[32];  // the longest decomposition of Unicode has 18
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = utf8_at(text, at);
    at += c.length;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), parts, 32,
                                               static_cast<utf8proc_option_t>(options), nullptr);
    if (count < 1 || count > 32) {
      codes.push_back(static_cast<utf8proc_int32_t>(c.code));
    } else {
      codes.insert(codes.end(), parts, parts + count);
    }
  }
  order_marks(codes);
  return codes;
}

// Capital letters younger than utf8proc's Unicode 15; those of a range lie as far from their lower case.
struct NewerCapitals {
  char32_t first, last, lower;
};
constexpr NewerCapitals kNewerCapitals[] = {
    {0x1C89, 0x1C89, 0x1C8A},    {0xA7CB, 0xA7CB, 0x0264},   {0xA7CC, 0xA7CC, 0xA7CD}, {0xA7CE, 0xA7CE, 0xA7CF},
    {0xA7D2, 0xA7D2, 0xA7D3},    {0xA7D4, 0xA7D4, 0xA7D5},   {0xA7DA, 0xA7DA, 0xA7DB}, {0xA7DC, 0xA7DC, 0x019B},
    {0x10D50, 0x10D65, 0x10D70}, {0x16EA0, 0x16EB8, 0x16EBB}};

char32_t lower_of(char32_t code) {
  for (const NewerCapitals& c : kNewerCapitals) {
    if (code >= c.first && code <= c.last) return c.lower + (code - c.first);
  }
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = utf8_at(text, at);
    at += c.length;
    if (c.code == 0x130) {  // the one letter whose lower case is two characters
      out += "i\u0307";
    } else {
      append_utf8(out, lower_of(c.code));
    }
  }
  return out;
}

Result<std::string> replace(const ReplaceStep& step, std::string_view text) {
  std::vector<std::pair<uint32_t, uint32_t>> matches;
  if (step.pattern != nullptr) {
    std::string storage;
    Pattern::Matcher matcher(*step.pattern);
    LOCI_CHECK(matcher.find_all(with_known_characters(text, storage), matches));
  } else {
    for (size_t at = text.find(step.text); at != std::string_view::npos;
         at = text.find(step.text, at + step.text.size())) {
      matches.emplace_back(static_cast<uint32_t>(at), static_cast<uint32_t>(at + step.text.size()));
    }
  }
  const size_t added = matches.size() * step.content.size();
  constexpr size_t kMaxBytes = size_t{1} << 31;
  if (added > kMaxBytes || text.size() > kMaxBytes) {
    return fail(ErrorCode::kLimit, "normalization makes {} bytes out of {} bytes of text, at most {} are allowed",
                added, text.size(), kMaxBytes);
  }
  std::string out;
  out.reserve(text.size() + added);
  size_t from = 0;
  for (const auto& [begin, end] : matches) {
    out += text.substr(from, begin - from);
    out += step.content;
    from = end;
  }
  out += text.substr(from);
  return out;
}

std::string strip(const StripStep& step, std::string_view text) {
  size_t begin = 0, end = text.size(), at = 0;
  while (step.left && begin < text.size() && is_whitespace(utf8_at(text, begin).code))
    begin += utf8_at(text, begin).length;
  if (step.right) {
    end = begin;
    for (at = begin; at < text.size();) {
      const Utf8Char c = utf8_at(text, at);
      at += c.length;
      if (!is_whitespace(c.code)) end = at;
    }
  }
  return std::string(text.substr(begin, end - begin));
}

void append_normal(std::string_view text, NormalForm form, std::string& out) {
  std::vector<utf8proc_int32_t> codes = decompose(text, form == NormalForm::kNfkc || form == NormalForm::kNfkd);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) {
    const auto composed = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                                                   static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    if (composed >= 0) codes.resize(static_cast<size_t>(composed));
  }
  for (const utf8proc_int32_t code : codes) append_utf8(out, static_cast<char32_t>(code));
}

}  // namespace

std::string normal_form(std::string_view text, NormalForm form) {
  if (is_trivially_normal(text, form)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  size_t begin = 0;  // of the characters that the reference knows
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = utf8_at(text, at);
    if (is_unnormalized(c.code)) {
      append_normal(text.substr(begin, at - begin), form, out);
      out += text.substr(at, c.length);
      begin = at + c.length;
    }
    at += c.length;
  }
  append_normal(text.substr(begin), form, out);
  return out;
}

Result<std::string> Normalizer::run(std::string_view text) const {
  std::string current(text);
  for (const NormalizerStep& step : steps_) {
    if (const auto* form = std::get_if<NormalForm>(&step)) {
      current = normal_form(current, *form);
    } else if (std::holds_alternative<LowercaseStep>(step)) {
      current = lowercase(current);
    } else if (const auto* prepend = std::get_if<PrependStep>(&step)) {
      if (!current.empty()) current.insert(0, prepend->text);
    } else if (const auto* replacement = std::get_if<ReplaceStep>(&step)) {
      LOCI_TRY(current, replace(*replacement, current));
    } else if (const auto* s = std::get_if<StripStep>(&step)) {
      current = strip(*s, current);
    }
  }
  return current;
}

}  // namespace loci

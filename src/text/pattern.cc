#include "text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/pre_tokenizer_families.h"
#include "text/unicode.h"

namespace loci {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;
constexpr std::string_view kSpaceMembers =
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";

Error unsupported(std::string_view source, size_t at, std::string_view what) {
  return fail(ErrorCode::kUnsupported, "pre-tokenizer pattern '{}': {} at byte {} is not supported", source, what, at);
}

// Oniguruma to PCRE2: white space is Unicode's property, scripts are not script extensions, \uHHHH is a character.
class Translation {
 public:
  explicit Translation(std::string_view source) : source_(source) {}

  Result<std::string> run() {
    while (at_ < source_.size()) LOCI_CHECK(step());
    return std::move(out_);
  }

 private:
  Status step() {
    const char c = source_[at_];
    if (c == '\\') return escape();
    if (in_class_) return class_member(c);
    if (c == '[') {
      in_class_ = true;
      out_ += c;
      ++at_;
      for (const char next : {'^', ']'}) {
        if (at_ < source_.size() && source_[at_] == next) {
          out_ += next == ']' ? "\\]" : "^";
          ++at_;
        }
      }
      return {};
    }
    out_ += c;
    ++at_;
    return {};
  }

  Status class_member(char c) {
    if (source_.substr(at_, 2) == "&&") return unsupported(source_, at_, "an intersection of classes");
    if (c == '[') {
      if (source_.substr(at_, 2) != "[:") return unsupported(source_, at_, "a class inside a class");
      const size_t end = source_.find(":]", at_);
      if (end == std::string_view::npos) return unsupported(source_, at_, "an unfinished class name");
      out_ += source_.substr(at_, end + 2 - at_);
      at_ = end + 2;
      return {};
    }
    if (c == ']') in_class_ = false;
    out_ += c;
    ++at_;
    return {};
  }

  Status escape() {
    const char c = at_ + 1 < source_.size() ? source_[at_ + 1] : '\0';
    switch (c) {
      case 's':
        out_ += in_class_ ? std::string(kSpaceMembers) : '[' + std::string(kSpaceMembers) + ']';
        break;
      case 'S':
        if (in_class_) return unsupported(source_, at_, "\\S inside a class");
        out_ += "[^" + std::string(kSpaceMembers) + ']';
        break;
      case 'u':
        if (at_ + 6 > source_.size()) return unsupported(source_, at_, "\\u without four digits");
        out_ += "\\x{" + std::string(source_.substr(at_ + 2, 4)) + '}';
        at_ += 4;
        break;
      case 'p':
      case 'P':
        return property();
      case 'h':
      case 'H':
      case 'R':
      case 'X':
      case 'K':
      case 'C':
      case 'G':
      case 'g':
      case 'k':
        return unsupported(source_, at_, std::string("\\") + c);
      default:
        if (c >= '1' && c <= '9') return unsupported(source_, at_, "a back reference");
        out_ += '\\';
        if (c != '\0' || at_ + 1 < source_.size()) out_ += c;
    }
    at_ += 2;
    return {};
  }

  Status property() {
    const size_t end = source_.find('}', at_);
    if (source_.substr(at_ + 2, 1) != "{" || end == std::string_view::npos) {
      return unsupported(source_, at_, "a property without braces");
    }
    std::string_view name = source_.substr(at_ + 3, end - at_ - 3);
    std::string_view negation;
    if (name.starts_with('^')) {
      negation = "^";
      name.remove_prefix(1);
    }
    const bool category = name.size() <= 2 || name == "Any";
    out_ += fmt::format("\\{}{{{}{}{}}}", source_[at_ + 1], negation, category ? "" : "sc:", name);
    at_ = end + 1;
    return {};
  }

  std::string_view source_;
  size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

struct Pattern::Compiled {
  std::string source;
  pcre2_code* code = nullptr;
  bool trusted = false;  // named by Loci: linear time, machine code
  ~Compiled() { pcre2_code_free(code); }
};

struct Pattern::Matcher::State {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
};

Pattern::Pattern(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Result<Pattern> Pattern::compile(std::string_view source) {
  if (source.size() > kMaxPatternBytes) {
    return fail(ErrorCode::kLimit, "a pre-tokenizer pattern has {} bytes, at most {} are allowed", source.size(),
                kMaxPatternBytes);
  }
  std::string storage;
  if (valid_utf8(source, InvalidUtf8::kPerByte, storage).data() != source.data()) {
    return fail(ErrorCode::kCorrupt, "a pre-tokenizer pattern is not valid UTF-8");
  }
  // On a run of spaces that does not end the line, every later start would scan the rest of the run in vain.
  const std::string_view linear = source == "\\s+$" ? "(?<!\\s)\\s+$" : source;
  LOCI_TRY(const std::string translated, Translation(linear).run());
  int code = 0;
  size_t at = 0;
  auto compiled = std::make_unique<Compiled>();
  compiled->source = source;
  compiled->trusted = is_family_pattern(source);
  compiled->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, nullptr);
  if (compiled->code == nullptr) {
    std::string message(256, '\0');
    const int length = pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(message.data()), message.size());
    message.resize(length > 0 ? static_cast<size_t>(length) : 0);
    return fail(ErrorCode::kUnsupported, "pre-tokenizer pattern '{}': {}", source, message);
  }
  // Without machine code the same pattern is interpreted: slower, with the same matches.
  if (compiled->trusted) pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);
  return Pattern(std::move(compiled));
}

Pattern::Matcher::Matcher(const Pattern& pattern) : pattern_(pattern), state_(std::make_unique<State>()) {
  state_->data = pcre2_match_data_create(1, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
}

Pattern::Matcher::~Matcher() = default;

Status Pattern::Matcher::find_all(std::string_view subject, std::vector<std::pair<uint32_t, uint32_t>>& matches) {
  const Compiled& compiled = *pattern_.compiled_;
  if (state_->data == nullptr || state_->context == nullptr) {
    return fail(ErrorCode::kLimit, "no memory for matching pre-tokenizer pattern '{}'", compiled.source);
  }
  constexpr size_t kStepsPerByte = 64;
  constexpr size_t kStepsAtLeast = 100'000;
  const size_t steps =
      compiled.trusted ? UINT32_MAX : std::min<size_t>(UINT32_MAX, kStepsAtLeast + kStepsPerByte * subject.size());
  pcre2_set_match_limit(state_->context, static_cast<uint32_t>(steps));
  for (size_t start = 0; start < subject.size();) {
    const int rc = pcre2_match(compiled.code, reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), start,
                               PCRE2_NO_UTF_CHECK, state_->data, state_->context);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      return fail(ErrorCode::kLimit,
                  "pre-tokenizer pattern '{}' needs more than {} steps on {} bytes of text (code {})", compiled.source,
                  steps, subject.size(), rc);
    }
    const size_t* range = pcre2_get_ovector_pointer(state_->data);
    matches.emplace_back(static_cast<uint32_t>(range[0]), static_cast<uint32_t>(range[1]));
    start =
        range[1] > range[0] ? range[1] : range[1] + (range[1] < subject.size() ? utf8_at(subject, range[1]).length : 1);
  }
  return {};
}

}  // namespace loci

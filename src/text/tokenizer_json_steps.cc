#include "text/tokenizer_json_steps.h"

#include "text/pre_tokenizer_families.h"
#include "text/unicode.h"

namespace loci {
namespace {

using nlohmann::json;

Error unsupported(const JsonFields& source, std::string_view what) {
  return fail(ErrorCode::kUnsupported, "{}: {} is not supported", source.where(), what);
}

// Calls `read` for every element of the array `field`.
template <typename Read>
Status for_each_in(const JsonFields& source, std::string_view field, Read&& read) {
  const json* items = source.find(field);
  if (items == nullptr || !items->is_array()) return source.wrong(field, "an array");
  for (const json& item : *items) {
    if (!item.is_object()) return source.wrong(field, "an array of objects");
    LOCI_CHECK(read(JsonFields(item, fmt::format("{} of {}", field, source.where()))));
  }
  return {};
}

// {"String": "text"} or {"Regex": "pattern"}.
struct JsonPattern {
  bool regex = false;
  std::string text;
};

Result<JsonPattern> read_pattern(const JsonFields& source) {
  LOCI_TRY(const auto pattern, source.object("pattern"));
  if (!pattern) return source.wrong("pattern", "an object");
  LOCI_TRY(const auto text, pattern->text("String"));
  LOCI_TRY(const auto regex, pattern->text("Regex"));
  if (text.has_value() == regex.has_value()) return source.wrong("pattern", "either a String or a Regex");
  JsonPattern out{regex.has_value(), regex ? *regex : *text};
  if (out.text.empty()) return unsupported(source, "an empty pattern");
  return out;
}

Result<std::string> required_text(const JsonFields& source, std::string_view field) {
  LOCI_TRY(auto text, source.text(field));
  if (!text) return fail(ErrorCode::kCorrupt, "{} has no '{}'", source.where(), field);
  return std::move(*text);
}

Result<ReplaceStep> read_replace(const JsonFields& source) {
  LOCI_TRY(JsonPattern pattern, read_pattern(source));
  ReplaceStep step;
  LOCI_TRY(step.content, required_text(source, "content"));
  if (pattern.regex) {
    LOCI_TRY(Pattern compiled, Pattern::compile(pattern.text));
    step.pattern = std::make_shared<Pattern>(std::move(compiled));
  } else {
    step.text = std::move(pattern.text);
  }
  return step;
}

// Every character of `text` may mean something in a pattern.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (static_cast<signed char>(c) > 0 && !isalnum(c)) out += '\\';
    out += c;
  }
  return out;
}

Result<SplitBehavior> read_behavior(const JsonFields& source) {
  LOCI_TRY(const std::string name, source.text_or("behavior", "Isolated"));
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  return unsupported(source, fmt::format("behavior '{}'", name));
}

Result<SplitStep> read_split(const JsonFields& source) {
  LOCI_TRY(const JsonPattern pattern, read_pattern(source));
  LOCI_TRY(Pattern compiled, Pattern::compile(pattern.regex ? pattern.text : escaped(pattern.text)));
  SplitStep step{std::move(compiled)};
  LOCI_TRY(step.behavior, read_behavior(source));
  LOCI_TRY(step.invert, source.flag_or("invert", false));
  return step;
}

Result<MetaspaceStep> read_metaspace(const JsonFields& source) {
  MetaspaceStep step;
  LOCI_TRY(step.replacement, source.text_or("replacement", "\u2581"));
  if (step.replacement.empty()) return unsupported(source, "an empty replacement");
  LOCI_TRY(const bool prefix, source.flag_or("add_prefix_space", true));
  LOCI_TRY(const std::string scheme, source.text_or("prepend_scheme", prefix ? "always" : "never"));
  LOCI_TRY(step.split, source.flag_or("split", true));
  if (scheme == "always") {
    step.prepend = MetaspaceStep::Prepend::kAlways;
  } else if (scheme == "first") {
    step.prepend = MetaspaceStep::Prepend::kFirst;
  } else if (scheme == "never") {
    step.prepend = MetaspaceStep::Prepend::kNever;
  } else {
    return unsupported(source, fmt::format("prepend_scheme '{}'", scheme));
  }
  return step;
}

Status read_byte_level(const JsonFields& source, PreTokenizer& pre_tokenizer) {
  LOCI_TRY(const bool prefix, source.flag_or("add_prefix_space", true));
  LOCI_TRY(const bool cut, source.flag_or("use_regex", true));
  if (prefix) pre_tokenizer.add(PrefixSpaceStep{});
  if (cut) {
    LOCI_TRY(Pattern pattern, Pattern::compile(gpt2_pattern()));
    pre_tokenizer.add(SplitStep{std::move(pattern)});
  }
  pre_tokenizer.add(ByteLevelStep{});
  return {};
}

Result<int64_t> template_token(const JsonFields& source, const JsonFields& special, const std::string& name) {
  LOCI_TRY(const auto token, special.object(name));
  const json* ids = token ? token->find("ids") : nullptr;
  if (ids == nullptr || !ids->is_array() || ids->size() != 1 || !ids->front().is_number_unsigned() ||
      ids->front().get<uint64_t>() > INT32_MAX) {
    return fail(ErrorCode::kCorrupt, "{}: special token '{}' has no single id", source.where(), name);
  }
  return ids->front().get<int64_t>();
}

Status read_template(const JsonFields& source, JsonTemplate& out) {
  LOCI_TRY(const auto special, source.object("special_tokens"));
  bool after_text = false;
  return for_each_in(source, "single", [&](const JsonFields& item) -> Status {
    LOCI_TRY(const auto token, item.object("SpecialToken"));
    if (!token) {
      if (after_text || item.find("Sequence") == nullptr)
        return unsupported(item, "a template other than tokens around one sequence");
      after_text = true;
      return {};
    }
    LOCI_TRY(const std::string name, required_text(*token, "id"));
    if (!special) return source.wrong("special_tokens", "an object");
    LOCI_TRY(const int64_t id, template_token(source, *special, name));
    (after_text ? out.suffix : out.prefix).push_back(id);
    return {};
  });
}

// ["</s>", 2] of the processors that came before templates.
Status read_named_id(const JsonFields& source, std::string_view field, std::vector<int64_t>& ids) {
  const json* pair = source.find(field);
  const bool good = pair != nullptr && pair->is_array() && pair->size() == 2 && pair->back().is_number_unsigned() &&
                    pair->back().get<uint64_t>() <= INT32_MAX;
  if (!good) return source.wrong(field, "a token and its id");
  ids.push_back(pair->back().get<int64_t>());
  return {};
}

}  // namespace

std::string JsonDecoder::apply(std::string text) const {
  for (const auto& [what, with] : replacements) text = replace_all(text, what, with);
  return text;
}

Status read_normalizer(const JsonFields& source, Normalizer& normalizer) {
  LOCI_TRY(const std::string type, required_text(source, "type"));
  if (type == "Sequence") {
    return for_each_in(source, "normalizers",
                       [&](const JsonFields& item) { return read_normalizer(item, normalizer); });
  }
  if (type == "NFC") {
    normalizer.add(NormalForm::kNfc);
  } else if (type == "NFD") {
    normalizer.add(NormalForm::kNfd);
  } else if (type == "NFKC") {
    normalizer.add(NormalForm::kNfkc);
  } else if (type == "NFKD") {
    normalizer.add(NormalForm::kNfkd);
  } else if (type == "Lowercase") {
    normalizer.add(LowercaseStep{});
  } else if (type == "Prepend") {
    LOCI_TRY(std::string text, required_text(source, "prepend"));
    normalizer.add(PrependStep{std::move(text)});
  } else if (type == "Replace") {
    LOCI_TRY(ReplaceStep step, read_replace(source));
    normalizer.add(std::move(step));
  } else if (type == "Strip") {
    StripStep step;
    LOCI_TRY(step.left, source.flag_or("strip_left", true));
    LOCI_TRY(step.right, source.flag_or("strip_right", true));
    normalizer.add(step);
  } else {
    return unsupported(source, fmt::format("normalizer '{}'", type));
  }
  return {};
}

Status read_pre_tokenizer(const JsonFields& source, PreTokenizer& pre_tokenizer) {
  LOCI_TRY(const std::string type, required_text(source, "type"));
  if (type == "Sequence") {
    return for_each_in(source, "pretokenizers",
                       [&](const JsonFields& item) { return read_pre_tokenizer(item, pre_tokenizer); });
  }
  if (type == "ByteLevel") return read_byte_level(source, pre_tokenizer);
  if (type == "Split") {
    LOCI_TRY(SplitStep step, read_split(source));
    pre_tokenizer.add(std::move(step));
  } else if (type == "Digits") {
    LOCI_TRY(const bool individual, source.flag_or("individual_digits", false));
    pre_tokenizer.add(DigitsStep{individual});
  } else if (type == "Punctuation") {
    LOCI_TRY(const SplitBehavior behavior, read_behavior(source));
    pre_tokenizer.add(PunctuationStep{behavior});
  } else if (type == "Metaspace") {
    LOCI_TRY(MetaspaceStep step, read_metaspace(source));
    pre_tokenizer.add(std::move(step));
  } else {
    return unsupported(source, fmt::format("pre-tokenizer '{}'", type));
  }
  return {};
}

Status read_decoder(const JsonFields& source, JsonDecoder& decoder) {
  LOCI_TRY(const std::string type, required_text(source, "type"));
  if (type == "Sequence") {
    return for_each_in(source, "decoders", [&](const JsonFields& item) { return read_decoder(item, decoder); });
  }
  if (type == "ByteLevel") {
    decoder.byte_level = true;
  } else if (type == "ByteFallback") {
    decoder.byte_fallback = true;
  } else if (type == "Fuse") {
    return {};  // pieces are joined anyway
  } else if (type == "Replace") {
    LOCI_TRY(ReplaceStep step, read_replace(source));
    if (step.pattern != nullptr) return unsupported(source, "a decoder that replaces a pattern");
    decoder.replacements.emplace_back(std::move(step.text), std::move(step.content));
  } else if (type == "Strip") {
    LOCI_TRY(const std::string content, source.text_or("content", " "));
    LOCI_TRY(const uint32_t start, source.u32_or("start", 0));
    LOCI_TRY(const uint32_t stop, source.u32_or("stop", 0));
    if (content != " " || start > 1 || stop != 0)
      return unsupported(source, "stripping other than one space at the start");
    decoder.strip_space = start == 1;
  } else if (type == "Metaspace") {
    LOCI_TRY(MetaspaceStep step, read_metaspace(source));
    decoder.replacements.emplace_back(std::move(step.replacement), " ");
    decoder.strip_space = step.prepend != MetaspaceStep::Prepend::kNever;
  } else {
    return unsupported(source, fmt::format("decoder '{}'", type));
  }
  return {};
}

Status read_post_processor(const JsonFields& source, JsonTemplate& ids) {
  LOCI_TRY(const std::string type, required_text(source, "type"));
  if (type == "Sequence") {
    return for_each_in(source, "processors", [&](const JsonFields& item) { return read_post_processor(item, ids); });
  }
  if (type == "ByteLevel") return {};  // it trims offsets, which Loci does not report
  if (type == "TemplateProcessing") return read_template(source, ids);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    LOCI_CHECK(read_named_id(source, "cls", ids.prefix));
    return read_named_id(source, "sep", ids.suffix);
  }
  return unsupported(source, fmt::format("post-processor '{}'", type));
}

}  // namespace loci

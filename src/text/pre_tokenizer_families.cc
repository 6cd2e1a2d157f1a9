#include "text/pre_tokenizer_families.h"

#include <algorithm>
#include <array>
#include <span>

namespace loci {
namespace {

constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                     R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLineEnds = R"([\r\n])";
constexpr std::string_view kLetters = R"(\s?\p{L}+)";
constexpr std::string_view kPunctuation = R"(\s?\p{P}+)";
constexpr std::string_view kTrailingSpace = R"(\s+$)";
// U+4E00-U+9FA5, U+0800-U+4E00, U+AC00-U+D7FF
constexpr std::string_view kCjkAndHangul = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";
// DeepSeek LLM names the cased letters of Unicode 11 one range at a time.
// clang-format breaks this string anew each time.
// clang-format off
constexpr std::string_view kCasedLetters =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-"
    "ὅὈ-"
    "Ὅὐ-"
    "ὗὙὛὝὟ-\u1F7Dᾀ-ᾴᾶ-ᾼ\u1FBE"
    "ῂ-ῄῆ-ῌῐ-\u1FD3ῖ-\u1FDBῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212A-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-"
    "ﬆﬓ-"
    "ﬗＡ-"
    "Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲"
    "𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
// clang-format on
constexpr std::string_view kAsciiAndWidePunctuation =
    "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+";
constexpr std::string_view kDigitTriples = R"(\p{N}{1,3})";
constexpr std::string_view kCjkAndKana = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";
constexpr std::string_view kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kThreeDigits = R"([0-9][0-9][0-9])";
constexpr std::string_view kDefaultPunctuation = R"([\p{P}\$\+<=>\^~\|]+)";
constexpr std::string_view kNumbers = R"(\p{N}+)";

constexpr std::array kPatterns = {kGpt2,
                                  kLlama3,
                                  kQwen2,
                                  kTekken,
                                  kGpt4o,
                                  kLineEnds,
                                  kLetters,
                                  kPunctuation,
                                  kTrailingSpace,
                                  kCjkAndHangul,
                                  kCasedLetters,
                                  kAsciiAndWidePunctuation,
                                  kDigitTriples,
                                  kCjkAndKana,
                                  kDeepSeek3,
                                  kThreeDigits,
                                  kDefaultPunctuation,
                                  kNumbers};

// A family is its steps in order: a pattern cuts, the tags are steps without one.
enum class Tag { kPattern, kDigits, kNumberRuns, kPunctuationRuns, kByteLevel };
struct StepSpec {
  Tag tag = Tag::kPattern;
  std::string_view pattern = {};
};
constexpr StepSpec cut_by(std::string_view pattern) { return {Tag::kPattern, pattern}; }
constexpr StepSpec kEachDigit = {Tag::kDigits};
constexpr StepSpec kNumberRun = {Tag::kNumberRuns};
constexpr StepSpec kPunctuationRun = {Tag::kPunctuationRuns};
constexpr StepSpec kBytes = {Tag::kByteLevel};

struct FamilySpec {
  std::string_view name;
  std::array<std::string_view, 12> aliases;
  std::array<StepSpec, 7> steps;  // up to and including the first empty one
  bool nfc = false, ignore_merges = false, add_bos = false;
};

constexpr FamilySpec kFamilies[] = {
    {.name = "default",
     .aliases = {},
     .steps = {cut_by(kDefaultPunctuation), cut_by(kGpt2), cut_by(kNumbers), cut_by(kThreeDigits), kBytes}},
    {.name = "llama-bpe",
     .aliases = {"llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"},
     .steps = {cut_by(kLlama3), kBytes},
     .ignore_merges = true,
     .add_bos = true},
    {.name = "dbrx", .aliases = {"smaug-bpe"}, .steps = {cut_by(kLlama3), kBytes}},
    {.name = "gpt-2",
     .aliases = {"gpt2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum",
                 "olmo", "exaone4", "mpt"},
     .steps = {cut_by(kGpt2), kBytes}},
    {.name = "qwen2", .aliases = {"megrez"}, .steps = {cut_by(kQwen2), kBytes}, .nfc = true},
    {.name = "deepseek-r1-qwen", .aliases = {"stablelm2", "hunyuan", "kormo"}, .steps = {cut_by(kQwen2), kBytes}},
    {.name = "smollm", .aliases = {}, .steps = {kEachDigit, cut_by(kGpt2), kBytes}},
    {.name = "starcoder",
     .aliases = {"refact", "codeshell", "exaone", "minerva-7b"},
     .steps = {kEachDigit, cut_by(kGpt2), kBytes}},
    {.name = "command-r", .aliases = {}, .steps = {kEachDigit, cut_by(kGpt2), kBytes}, .nfc = true},
    {.name = "falcon",
     .aliases = {},
     .steps = {kPunctuationRun, cut_by(kGpt2), kBytes, kNumberRun, cut_by(kThreeDigits)}},
    {.name = "deepseek-llm",
     .aliases = {},
     .steps = {cut_by(kLineEnds), cut_by(kCasedLetters), cut_by(kAsciiAndWidePunctuation), cut_by(kTrailingSpace),
               cut_by(kCjkAndHangul), kEachDigit, kBytes}},
    {.name = "deepseek-coder",
     .aliases = {},
     .steps = {cut_by(kLineEnds), cut_by(kLetters), cut_by(kPunctuation), cut_by(kCjkAndHangul), kEachDigit, kBytes}},
    {.name = "deepseek-v3",
     .aliases = {"hunyuan-dense", "joyai-llm"},
     .steps = {cut_by(kDigitTriples), cut_by(kCjkAndKana), cut_by(kDeepSeek3), kBytes}},
    {.name = "tekken", .aliases = {}, .steps = {cut_by(kTekken), kBytes}, .ignore_merges = true, .add_bos = true},
    {.name = "gpt-4o", .aliases = {"llama4", "kanana2"}, .steps = {cut_by(kGpt4o), kBytes}},
};

Result<PreTokenizerFamily> build(const FamilySpec& spec) {
  PreTokenizerFamily family;
  family.name = spec.name;
  family.nfc = spec.nfc;
  family.ignore_merges = spec.ignore_merges;
  family.add_bos = spec.add_bos;
  for (const StepSpec& step : spec.steps) {
    switch (step.tag) {
      case Tag::kPattern: {
        if (step.pattern.empty()) return family;
        LOCI_TRY(Pattern pattern, Pattern::compile(step.pattern));
        family.pre_tokenizer.add(SplitStep{std::move(pattern)});
        break;
      }
      case Tag::kDigits:
        family.pre_tokenizer.add(DigitsStep{.individual = true});
        break;
      case Tag::kNumberRuns:
        family.pre_tokenizer.add(DigitsStep{});
        break;
      case Tag::kPunctuationRuns:
        family.pre_tokenizer.add(PunctuationStep{SplitBehavior::kContiguous});
        break;
      case Tag::kByteLevel:
        family.pre_tokenizer.add(ByteLevelStep{});
        break;
    }
  }
  return family;
}

}  // namespace

Result<PreTokenizerFamily> pre_tokenizer_family(std::string_view name) {
  std::string known;
  for (const FamilySpec& spec : kFamilies) {
    const bool alias = !name.empty() && std::find(spec.aliases.begin(), spec.aliases.end(), name) != spec.aliases.end();
    if (spec.name == name || alias) return build(spec);
    known += known.empty() ? "" : ", ";
    known += spec.name;
  }
  return fail(ErrorCode::kUnsupported, "pre-tokenizer '{}' (tokenizer.ggml.pre) is not one of: {}", name, known);
}

bool is_family_pattern(std::string_view source) {
  return std::find(kPatterns.begin(), kPatterns.end(), source) != kPatterns.end();
}

std::string_view gpt2_pattern() { return kGpt2; }

}  // namespace loci

#include "calibrate/quantize/recipe.h"

#include <charconv>

#include "base/spelling.h"
#include "tensor/row_scaled.h"

namespace loci {
namespace {

struct WeightScheme {
  std::string_view name;
  uint32_t weight_bits, activation_bits;
};
constexpr WeightScheme kWeightSchemes[] = {{"w4a8", 4, 8}, {"w8a8", 8, 8}, {"w4a16", 4, 16}, {"w16a16", 16, 16}};

struct StepName {
  const char* name;
  bool QuantSteps::*step;
};
constexpr StepName kStepNames[] = {{"rotate", &QuantSteps::rotate},
                                   {"rotate-values", &QuantSteps::rotate_values},
                                   {"center-keys", &QuantSteps::center_keys},
                                   {"smooth-attention", &QuantSteps::smooth_attention},
                                   {"compensate-keys", &QuantSteps::compensate_keys},
                                   {"smooth-inputs", &QuantSteps::smooth_inputs},
                                   {"turn-inputs", &QuantSteps::turn_inputs},
                                   {"smooth-outputs", &QuantSteps::smooth_outputs},
                                   {"turn-gated", &QuantSteps::turn_gated},
                                   {"reorder", &QuantSteps::reorder},
                                   {"clip", &QuantSteps::clip},
                                   {"compensate", &QuantSteps::compensate},
                                   {"sequential", &QuantSteps::sequential}};

constexpr uint32_t kLeastGroup = 32;

Result<uint32_t> parse_group(std::string_view text) {
  if (text == "channel") return 0u;
  uint32_t group = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), group);
  if (error == std::errc() && end == text.data() + text.size() && (group == 32 || group == 64 || group == 128)) {
    return group;
  }
  return fail(ErrorCode::kInvalidArgument, "the group is '{}', but must be channel, 128, 64 or 32", text);
}

QuantSteps suitable_steps(const QuantScheme& scheme) {
  const bool rounds_keys = scheme.store != KvCodec::kKv16;
  QuantSteps out{
      .center_keys = rounds_keys, .smooth_attention = rounds_keys, .compensate_keys = scheme.store == KvCodec::kKv4};
  if (scheme.weight_bits == 16) return out;
  out.rotate_values = out.smooth_inputs = out.smooth_outputs = out.compensate = out.sequential = true;
  out.turn_inputs = out.turn_gated = true;
  out.clip = scheme.weight_bits == 4;
  return out;
}

}  // namespace

std::string QuantScheme::name() const {
  return fmt::format("w{}a{}{}", weight_bits, activation_bits, to_string(store));
}

std::optional<DType> QuantScheme::weight_format(uint64_t columns) const {
  if (weight_bits == 16) return DType::kF16;
  if (columns % kLeastGroup != 0) return std::nullopt;
  if (activation_bits == 16) return DType::kQ4_1;
  if (weight_bits == 8) return DType::kW8Row;
  return group == 0 ? DType::kW4Row : grouped_format(group, columns);
}

Result<QuantScheme> parse_scheme(std::string_view scheme, std::string_view group) {
  const size_t kv = scheme.find("kv");
  const std::string_view weights = scheme.substr(0, kv);
  const std::optional<KvCodec> store =
      kv == std::string_view::npos ? std::nullopt : kv_codec_from_name(scheme.substr(kv));
  for (const WeightScheme& known : kWeightSchemes) {
    if (weights != known.name || !store) continue;
    QuantScheme out{.weight_bits = known.weight_bits, .activation_bits = known.activation_bits, .store = *store};
    LOCI_TRY(out.group, parse_group(group));
    if (out.weight_bits == 4 && out.activation_bits == 16 && out.group == 0) {
      return fail(ErrorCode::kInvalidArgument, "w4a16 has groups of columns; use --group 128, 64 or 32");
    }
    return out;
  }
  return fail(ErrorCode::kInvalidArgument,
              "there is no scheme '{}'; write w4a8, w8a8, w4a16 or w16a16, then kv4, kv8 or kv16, as in w4a8kv4",
              scheme);
}

std::string QuantSteps::names() const {
  std::string out;
  for (const StepName& known : kStepNames) {
    if (this->*known.step) out += fmt::format("{}{}", out.empty() ? "" : ",", known.name);
  }
  return out.empty() ? "none" : out;
}

Result<QuantSteps> parse_steps(std::string_view text, const QuantScheme& scheme) {
  if (text == "all") return suitable_steps(scheme);
  QuantSteps out;
  if (text == "none") return out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    begin = end + 1;
    const StepName* found = nullptr;
    std::vector<std::string> names;
    for (const StepName& known : kStepNames) {
      names.emplace_back(known.name);
      if (word == known.name) found = &known;
    }
    if (found == nullptr) {
      return fail(ErrorCode::kInvalidArgument, "there is no step '{}'{}", word, did_you_mean(word, names));
    }
    out.*(found->step) = true;
  }
  return out;
}

}  // namespace loci

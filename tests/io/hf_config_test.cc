#include "io/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace loci {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json llama() {
  return json::parse(R"({
    "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0, "rope_scaling": null, "vocab_size": 100, "tie_word_embeddings": false,
    "bos_token_id": 1, "eos_token_id": 2})");
}

// As transformers 5 writes it.
json gemma() {
  return json::parse(R"({
    "model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 7, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 100,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "sliding_window": 512, "query_pre_attn_scalar": 32,
    "attn_logit_softcapping": null, "final_logit_softcapping": null, "use_bidirectional_attention": false,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "sliding_attention",
                    "full_attention", "sliding_attention"],
    "rope_parameters": {"full_attention": {"rope_theta": 1000000.0, "rope_type": "linear", "factor": 8.0},
                        "sliding_attention": {"rope_theta": 20000.0, "rope_type": "default"}}})");
}

json with(json config, const char* patch) {
  config.merge_patch(json::parse(patch));  // null removes a field
  return config;
}

HfConfig read(const json& config, std::string_view generation = "") {
  auto out = read_hf_config(config.dump(), generation);
  EXPECT_TRUE(out.ok()) << out.error().message;
  return out.ok() ? std::move(*out) : HfConfig();
}
std::string error_of(const json& config, std::string_view generation = "") {
  const auto out = read_hf_config(config.dump(), generation);
  return out.ok() ? "" : out.error().message;
}

TEST(HfConfig, Llama) {
  const HfConfig config = read(llama());
  const Metadata& m = config.metadata;
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.tied_embeddings, false);
  EXPECT_EQ(*m.text("general.architecture"), "llama");
  EXPECT_EQ(*m.u32("llama.block_count"), 2u);
  EXPECT_EQ(*m.u32("llama.context_length"), 2048u);
  EXPECT_EQ(*m.u32("llama.embedding_length"), 64u);
  EXPECT_EQ(*m.u32("llama.feed_forward_length"), 96u);
  EXPECT_EQ(*m.u32("llama.attention.head_count"), 4u);
  EXPECT_EQ(*m.u32("llama.attention.head_count_kv"), 2u);
  EXPECT_EQ(*m.u32("llama.attention.key_length"), 16u);
  EXPECT_EQ(*m.u32("llama.attention.value_length"), 16u);
  EXPECT_EQ(*m.number("llama.attention.layer_norm_rms_epsilon"), 1e-5);
  EXPECT_EQ(*m.number("llama.rope.freq_base"), 500000.0);
  EXPECT_EQ(*m.u32("llama.rope.dimension_count"), 16u);
  EXPECT_EQ(*m.text("llama.rope.scaling.type"), "none");
  EXPECT_EQ(*m.u32("llama.vocab_size"), 100u);
  EXPECT_EQ(*m.u32("tokenizer.ggml.bos_token_id"), 1u);
  EXPECT_EQ(*m.u32("tokenizer.ggml.eos_token_id"), 2u);
  EXPECT_EQ(m.find("llama.attention.sliding_window"), nullptr);
}

TEST(HfConfig, DefaultsOfTransformers) {
  const HfConfig old = read(with(llama(), R"({"num_key_value_heads": null, "rope_theta": null, "rms_norm_eps": null,
                                              "tie_word_embeddings": null})"));
  EXPECT_EQ(*old.metadata.u32("llama.attention.head_count_kv"), 4u);
  EXPECT_EQ(*old.metadata.number("llama.rope.freq_base"), 10000.0);
  EXPECT_EQ(*old.metadata.number("llama.attention.layer_norm_rms_epsilon"), 1e-6);
  EXPECT_EQ(old.tied_embeddings, std::nullopt);
  const HfConfig qwen3 = read(with(llama(), R"({"model_type": "qwen3"})"));
  EXPECT_EQ(*qwen3.metadata.u32("qwen3.attention.key_length"), 128u);
  EXPECT_EQ(*read(with(llama(), R"({"head_dim": 32})")).metadata.u32("llama.attention.key_length"), 32u);
}

TEST(HfConfig, MistralIsLlamaWithAWindow) {
  const HfConfig mistral = read(with(llama(), R"({"model_type": "mistral", "sliding_window": 4096})"));
  EXPECT_EQ(mistral.architecture, "llama");
  EXPECT_EQ(*mistral.metadata.u32("llama.attention.sliding_window"), 4096u);
  const HfConfig without = read(with(llama(), R"({"model_type": "mistral", "sliding_window": null})"));
  EXPECT_EQ(without.metadata.find("llama.attention.sliding_window"), nullptr);
}

TEST(HfConfig, RopeScalingOfBothGenerations) {
  const char* v4 = R"({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                       "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}})";
  const char* v5 = R"({"rope_theta": null, "rope_scaling": null, "rope_parameters": {"rope_type": "llama3",
                       "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                       "original_max_position_embeddings": 8192}})";
  const Metadata a = read(with(llama(), v4)).metadata, b = read(with(llama(), v5)).metadata;
  EXPECT_EQ(a.values(), b.values());
  EXPECT_EQ(*a.text("llama.rope.scaling.type"), "llama3");
  EXPECT_EQ(*a.number("llama.rope.scaling.factor"), 8.0);
  EXPECT_EQ(*a.number("llama.rope.scaling.low_freq_factor"), 1.0);
  EXPECT_EQ(*a.number("llama.rope.scaling.high_freq_factor"), 4.0);
  EXPECT_EQ(*a.u32("llama.rope.scaling.original_context_length"), 8192u);
  EXPECT_EQ(*a.number("llama.rope.freq_base"), 500000.0);
}

TEST(HfConfig, YarnAndLinear) {
  const Metadata yarn = read(with(llama(), R"({"rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": 16,
                                               "attention_factor": 1.25}})"))
                            .metadata;
  EXPECT_EQ(*yarn.text("llama.rope.scaling.type"), "yarn");
  EXPECT_EQ(*yarn.u32("llama.rope.scaling.original_context_length"), 2048u);
  EXPECT_EQ(*yarn.number("llama.rope.scaling.beta_fast"), 16.0);
  EXPECT_EQ(*yarn.number("llama.rope.scaling.attn_factor"), 1.25);
  EXPECT_EQ(yarn.find("llama.rope.scaling.beta_slow"), nullptr);
  const Metadata linear = read(with(llama(), R"({"rope_scaling": {"type": "linear", "factor": 2}})")).metadata;
  EXPECT_EQ(*linear.text("llama.rope.scaling.type"), "linear");
  EXPECT_EQ(*linear.number("llama.rope.scaling.factor"), 2.0);
}

TEST(HfConfig, RefusesWrongScaling) {
  const auto error = [](const char* scaling) { return error_of(with(llama(), scaling)); };
  EXPECT_THAT(error(R"({"rope_scaling": {"type": "longrope"}})"), HasSubstr("rope type 'longrope'"));
  EXPECT_THAT(error(R"({"rope_scaling": {"type": "linear"}})"), HasSubstr("no 'factor'"));
  EXPECT_THAT(error(R"({"rope_scaling": {"type": "linear", "factor": 0}})"), HasSubstr("must be above 0"));
  EXPECT_THAT(error(R"({"rope_scaling": {"rope_type": "llama3", "factor": 8}})"), HasSubstr("no 'low_freq_factor'"));
  EXPECT_THAT(error(R"({"rope_scaling": {"type": "yarn", "factor": 4, "mscale": 1}})"), HasSubstr("'mscale'"));
  EXPECT_THAT(error(R"({"rope_theta": 0})"), HasSubstr("must be above 0"));
  EXPECT_THAT(error(R"({"partial_rotary_factor": 0.5})"), HasSubstr("partial_rotary_factor 0.5"));
  EXPECT_THAT(error(R"({"rope_scaling": 7})"), HasSubstr("not an object"));
}

TEST(HfConfig, Gemma) {
  const HfConfig config = read(gemma());
  const Metadata& m = config.metadata;
  EXPECT_EQ(config.architecture, "gemma3");
  EXPECT_EQ(*m.u32("gemma3.attention.sliding_window"), 512u);
  EXPECT_EQ(*m.u32("gemma3.attention.sliding_window_pattern"), 3u);
  EXPECT_EQ(*m.number("gemma3.attention.query_pre_attn_scalar"), 32.0);
  EXPECT_EQ(*m.number("gemma3.rope.freq_base"), 1000000.0);
  EXPECT_EQ(*m.number("gemma3.rope.freq_base_swa"), 20000.0);
  EXPECT_EQ(*m.text("gemma3.rope.scaling.type"), "linear");
  EXPECT_EQ(*m.number("gemma3.rope.scaling.factor"), 8.0);
  EXPECT_EQ(*m.u32("gemma3.attention.key_length"), 32u);
}

TEST(HfConfig, GemmaBeforeTransformers5) {
  const Metadata m = read(with(gemma(), R"({"rope_parameters": null, "layer_types": null, "sliding_window_pattern": 2,
      "rope_theta": 1000000, "rope_local_base_freq": 30000, "rope_scaling": {"rope_type": "linear", "factor": 4}})"))
                         .metadata;
  EXPECT_EQ(*m.u32("gemma3.attention.sliding_window_pattern"), 2u);
  EXPECT_EQ(*m.number("gemma3.rope.freq_base_swa"), 30000.0);
  EXPECT_EQ(*m.number("gemma3.rope.scaling.factor"), 4.0);
}

TEST(HfConfig, MultimodalGemmaKeepsItsTextModelApart) {
  const json config =
      json::parse(R"({"model_type": "gemma3", "eos_token_id": [1, 106], "vision_config": {"hidden_size": 9},
      "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
                      "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}})");
  const Metadata m = read(config).metadata;
  EXPECT_EQ(*m.u32("gemma3.embedding_length"), 2560u);
  EXPECT_EQ(*m.u32("gemma3.attention.head_count"), 8u);
  EXPECT_EQ(*m.u32("gemma3.attention.head_count_kv"), 4u);
  EXPECT_EQ(*m.u32("gemma3.attention.key_length"), 256u);
  EXPECT_EQ(*m.u32("gemma3.context_length"), 131072u);
  EXPECT_EQ(*m.u32("gemma3.attention.sliding_window_pattern"), 6u);
  EXPECT_EQ(*m.number("gemma3.rope.freq_base"), 1000000.0);
  EXPECT_EQ(*m.number("gemma3.rope.freq_base_swa"), 10000.0);
  EXPECT_EQ(*m.find("loci.eos_token_ids"), MetaValue(std::vector<int64_t>{1, 106}));
}

TEST(HfConfig, LayersOfWindowsOnly) {
  const Metadata m = read(with(gemma(), R"({"num_hidden_layers": 2,
      "layer_types": ["sliding_attention", "sliding_attention"]})"))
                         .metadata;
  EXPECT_EQ(*m.u32("gemma3.attention.sliding_window_pattern"), 3u);
}

TEST(HfConfig, RefusesLayersThatNoPatternGives) {
  EXPECT_THAT(error_of(with(gemma(), R"({"num_hidden_layers": 3,
      "layer_types": ["sliding_attention", "full_attention", "full_attention"]})")),
              HasSubstr("every layer number 2"));
  EXPECT_THAT(error_of(with(gemma(), R"({"num_hidden_layers": 3})")), HasSubstr("a list of 3 names"));
  EXPECT_THAT(error_of(with(gemma(), R"({"num_hidden_layers": 1, "layer_types": ["linear_attention"]})")),
              HasSubstr("linear_attention"));
  EXPECT_THAT(
      error_of(with(llama(), R"({"model_type": "qwen2", "layer_types": ["full_attention", "sliding_attention"]})")),
      HasSubstr("mixes windows"));
}

TEST(HfConfig, GenerationConfigDecidesTheEndTokens) {
  const Metadata m = read(llama(), R"({"eos_token_id": [7, 8], "temperature": 0.6})").metadata;
  EXPECT_EQ(*m.u32("tokenizer.ggml.eos_token_id"), 7u);
  EXPECT_EQ(*m.find("loci.eos_token_ids"), MetaValue(std::vector<int64_t>{7, 8}));
  EXPECT_EQ(*m.u32("tokenizer.ggml.bos_token_id"), 1u);
  EXPECT_THAT(error_of(llama(), R"({"eos_token_id": [7, "x"]})"),
              HasSubstr("generation_config.json is not a token id"));
  EXPECT_THAT(error_of(llama(), R"({"eos_token_id": -1})"), HasSubstr("not a token id"));
  EXPECT_THAT(error_of(llama(), "[]"), HasSubstr("generation_config.json is not a JSON object"));
}

TEST(HfConfig, NamesWhatItDoesNotDo) {
  const auto code = [](const char* patch) {
    const auto out = read_hf_config(with(llama(), patch).dump(), "");
    return out.ok() ? ErrorCode::kInternal : out.error().code;
  };
  EXPECT_EQ(code(R"({"model_type": "bert"})"), ErrorCode::kUnsupported);
  EXPECT_EQ(code(R"({"model_type": null})"), ErrorCode::kUnsupported);
  EXPECT_EQ(code(R"({"quantization_config": {"bits": 4}})"), ErrorCode::kUnsupported);
  EXPECT_EQ(code(R"({"hidden_act": "gelu"})"), ErrorCode::kUnsupported);
  EXPECT_EQ(code(R"({"use_sliding_window": true})"), ErrorCode::kUnsupported);
  EXPECT_THAT(error_of(with(llama(), R"({"model_type": "bert"})")), HasSubstr("model_type 'bert'"));
  EXPECT_THAT(error_of(with(llama(), R"({"quantization_config": {}})")), testing::Not(""));
}

TEST(HfConfig, NamesWrongFields) {
  for (const char* field : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                            "max_position_embeddings", "vocab_size"}) {
    json config = llama();
    config.erase(field);
    EXPECT_THAT(error_of(config), HasSubstr(fmt::format("config.json has no '{}'", field)));
    for (const json& wrong : {json(-1), json("12"), json(1.5), json(4294967296u), json::array({1})}) {
      config[field] = wrong;
      EXPECT_THAT(error_of(config), HasSubstr(fmt::format("'{}' in config.json is not a whole number", field)));
    }
    config[field] = 0;
    EXPECT_THAT(error_of(config), HasSubstr(fmt::format("'{}' in config.json is 0", field)));
  }
  EXPECT_THAT(error_of(with(llama(), R"({"head_dim": 0})")), HasSubstr("'head_dim' in config.json is 0"));
  EXPECT_THAT(error_of(with(llama(), R"({"num_attention_heads": 5})")), HasSubstr("hidden_size 64 is no multiple"));
  EXPECT_THAT(error_of(json::array()), HasSubstr("config.json is not a JSON object"));
  EXPECT_FALSE(read_hf_config("{", "").ok());
  EXPECT_FALSE(read_hf_config("", "").ok());
}

}  // namespace
}  // namespace loci

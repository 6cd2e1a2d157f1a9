#include "eval/induction_model.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "io/gguf_writer.h"

namespace loci::test {
namespace {

constexpr uint32_t kCode = 32;  // dimensions of a token's code
constexpr uint32_t kHidden = 128;
constexpr uint32_t kFeedForward = 32;  // all zeros
// Where the residual stream holds what.
constexpr uint32_t kToken = 0, kBefore = kCode, kOut = 2 * kCode, kOne = 3 * kCode;
// RoPE turns the first half of a head: pair p by 2^(-1.5 p) a step.
constexpr uint32_t kTurned = kCode;
constexpr float kBase = 16777216.0F;  // 2^24: base^(-2p / 32)
constexpr float kSharp = 40.0F;       // of a softmax: nats of a match, of a whole pair of layer 0
constexpr float kFirstPair = 3.0F;    // pair 0 alone tells neighbours apart, so it counts thrice
constexpr uint32_t kF32 = 0;

// A row of a Hadamard matrix, or its opposite, of length 1.
float code(uint32_t token, uint32_t i) {
  const float sign = (std::popcount((token % kCode) & i) + token / kCode) % 2 == 0 ? 1.0F : -1.0F;
  return sign / std::sqrt(static_cast<float>(kCode));
}

// RMS norm makes of an entry of a row with `parts` parts of length 1 this many times the entry.
float scale_of(float parts) { return std::sqrt(static_cast<float>(kHidden) / parts); }

class Tensors {
 public:
  // [rows, columns] of zeros, to be filled.
  float* add(const std::string& name, uint32_t rows, uint32_t columns) {
    names_.push_back(name);
    extents_.push_back({columns, rows});
    values_.emplace_back(size_t{rows} * columns, 0.0F);
    return values_.back().data();
  }
  void ones(const std::string& name, uint32_t columns) {
    names_.push_back(name);
    extents_.push_back({columns});
    values_.emplace_back(columns, 1.0F);
  }

  std::vector<std::byte> file(GgufWriter writer) const {
    std::vector<size_t> places;
    for (size_t i = 0; i < names_.size(); ++i) {
      const size_t bytes = values_[i].size() * sizeof(float);
      writer.tensor(names_[i], extents_[i], kF32, bytes);
      places.push_back(writer.data_bytes - bytes);
    }
    std::vector<std::byte> out = writer.bytes();
    std::byte* data = out.data() + out.size() - writer.data_bytes;
    for (size_t i = 0; i < values_.size(); ++i) {
      std::memcpy(data + places[i], values_[i].data(), values_[i].size() * sizeof(float));
    }
    return out;
  }

 private:
  std::vector<std::string> names_;
  std::vector<std::vector<uint64_t>> extents_;
  std::vector<std::vector<float>> values_;
};

struct LayerWeights {
  float *q, *k, *v, *out;
};

LayerWeights add_layer(Tensors& tensors, uint32_t layer) {
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  constexpr uint32_t kHead = InductionModel::kHeadDim;
  tensors.ones(prefix + "attn_norm.weight", kHidden);
  LayerWeights out{};
  out.q = tensors.add(prefix + "attn_q.weight", kHead, kHidden);
  out.k = tensors.add(prefix + "attn_k.weight", kHead, kHidden);
  out.v = tensors.add(prefix + "attn_v.weight", kHead, kHidden);
  out.out = tensors.add(prefix + "attn_output.weight", kHidden, kHead);
  tensors.ones(prefix + "ffn_norm.weight", kHidden);
  tensors.add(prefix + "ffn_gate.weight", kFeedForward, kHidden);
  tensors.add(prefix + "ffn_up.weight", kFeedForward, kHidden);
  tensors.add(prefix + "ffn_down.weight", kHidden, kFeedForward);
  return out;
}

// Keys are the same everywhere but for their angle; the query's is one step behind.
void read_token_before(const LayerWeights& w) {
  const float scale = scale_of(2);
  const float root = std::sqrt(static_cast<float>(InductionModel::kHeadDim));  // scores are divided by it
  for (uint32_t p = 0; p < kTurned / 2; ++p) {
    const double step = std::pow(static_cast<double>(kBase), -2.0 * p / kTurned);
    const float size = kSharp * root * (p == 0 ? kFirstPair : 1.0F) / scale;
    w.q[size_t{2 * p} * kHidden + kOne] = size * static_cast<float>(std::cos(step));
    w.q[size_t{2 * p + 1} * kHidden + kOne] = -size * static_cast<float>(std::sin(step));
    w.k[size_t{2 * p} * kHidden + kOne] = 1.0F / scale;
  }
  for (uint32_t i = 0; i < kCode; ++i) {
    w.v[size_t{i} * kHidden + kToken + i] = 1.0F / scale;
    w.out[size_t{kBefore + i} * InductionModel::kHeadDim + i] = 1.0F;
  }
}

// A token asks for those that stand behind a copy of it.
void read_what_followed(const LayerWeights& w) {
  const float scale = scale_of(3);
  const float root = std::sqrt(static_cast<float>(InductionModel::kHeadDim));
  for (uint32_t i = 0; i < kCode; ++i) {
    w.q[size_t{kTurned + i} * kHidden + kToken + i] = kSharp * root / scale;
    w.k[size_t{kTurned + i} * kHidden + kBefore + i] = 1.0F / scale;
    w.v[size_t{i} * kHidden + kToken + i] = 1.0F / scale;
    w.out[size_t{kOut + i} * InductionModel::kHeadDim + i] = 2.0F;
  }
}

std::vector<std::string> token_texts() {
  std::vector<std::string> out;
  const auto range = [&](char first, char last) {
    for (char c = first; c <= last; ++c) out.emplace_back(1, c);
  };
  range('A', 'Z');
  range('a', 'z');
  range('0', '9');
  out.insert(out.end(), {"+", "/"});
  return out;
}

GgufWriter metadata() {
  GgufWriter writer;
  const auto number = [&](const char* key, float value) { writer.entry(key, GgufWriter::kF32).put(value); };
  writer.text("general.architecture", "llama").text("general.name", "induction");
  writer.u32("llama.block_count", 2)
      .u32("llama.embedding_length", kHidden)
      .u32("llama.feed_forward_length", kFeedForward)
      .u32("llama.context_length", InductionModel::kContext)
      .u32("llama.attention.head_count", 1)
      .u32("llama.attention.head_count_kv", 1)
      .u32("llama.attention.key_length", InductionModel::kHeadDim)
      .u32("llama.attention.value_length", InductionModel::kHeadDim)
      .u32("llama.rope.dimension_count", kTurned);
  number("llama.attention.layer_norm_rms_epsilon", 1e-9F);
  number("llama.rope.freq_base", kBase);
  writer.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "gpt-2");
  writer.strings("tokenizer.ggml.tokens", token_texts());
  writer.strings("tokenizer.ggml.merges", {});
  return writer;
}

}  // namespace

std::vector<std::byte> InductionModel::gguf() {
  Tensors tensors;
  float* embedding = tensors.add("token_embd.weight", kTokens, kHidden);
  float* head = tensors.add("output.weight", kTokens, kHidden);
  for (uint32_t token = 0; token < kTokens; ++token) {
    for (uint32_t i = 0; i < kCode; ++i) {
      embedding[size_t{token} * kHidden + kToken + i] = code(token, i);
      head[size_t{token} * kHidden + kOut + i] = 4 * code(token, i);
    }
    embedding[size_t{token} * kHidden + kOne] = 1;
  }
  tensors.ones("output_norm.weight", kHidden);
  read_token_before(add_layer(tensors, 0));
  read_what_followed(add_layer(tensors, 1));
  return tensors.file(metadata());
}

InductionPrompt induction_prompt(uint32_t length, uint32_t position, uint32_t values, uint32_t seed) {
  std::mt19937 random(seed);
  InductionPrompt out;
  for (uint32_t i = 0; i < length; ++i) {
    out.tokens.push_back(static_cast<TokenId>(random() % InductionModel::kFillers));
  }
  const TokenId key = InductionModel::kFillers;
  out.tokens[position] = key;
  for (uint32_t i = 0; i < values; ++i) {
    out.answer.push_back(static_cast<TokenId>(key + 1 + static_cast<TokenId>(i)));
    out.tokens[position + 1 + i] = out.answer.back();
  }
  out.tokens.back() = key;
  return out;
}

}  // namespace loci::test

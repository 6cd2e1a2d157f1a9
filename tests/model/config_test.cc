#include "model/config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/model.h"

namespace loci {
namespace {

// A model file that exists only as metadata and the shape of its embedding.
class FakeFile final : public ModelFile {
 public:
  FakeFile() {
    set("general.architecture", std::string("llama"));
    set("llama.block_count", uint64_t{2});
    set("llama.embedding_length", uint64_t{64});
    set("llama.feed_forward_length", uint64_t{96});
    set("llama.context_length", uint64_t{2048});
    set("llama.attention.head_count", uint64_t{4});
    set("llama.attention.head_count_kv", uint64_t{2});
    set("llama.attention.layer_norm_rms_epsilon", 1e-5);
    add_tensor("token_embd.weight", {100, 64});
  }
  void set(const std::string& key, MetaValue value) { metadata_.set(key, std::move(value)); }
  void add_tensor(const std::string& name, std::vector<uint64_t> shape, std::vector<float> values = {}) {
    data_.push_back(std::make_unique<std::vector<float>>(std::move(values)));
    tensors_.push_back({name, DType::kF32, std::move(shape), std::as_bytes(std::span(*data_.back()))});
  }

  const Metadata& metadata() const override { return metadata_; }
  const std::vector<Tensor>& tensors() const override { return tensors_; }
  std::string_view format() const override { return "fake"; }
  uint64_t file_bytes() const override { return 0; }
  RopePairing rope_pairing() const override { return RopePairing::kAdjacent; }
  bool norms_store_offset() const override { return true; }
  std::string_view tokenizer_json() const override { return {}; }
  std::string_view tokenizer_config_json() const override { return {}; }
  Status check(const Tensor&) const override { return {}; }
  void release(std::span<const std::byte>) const override {}

 private:
  Metadata metadata_;
  std::vector<Tensor> tensors_;
  std::vector<std::unique_ptr<std::vector<float>>> data_;
};

std::vector<double> frequencies(const FakeFile& file) {
  const Result<ModelConfig> config = read_config(file);
  EXPECT_TRUE(config.ok()) << config.error().message;
  return config.ok() ? config->rope[0].inverse_frequencies : std::vector<double>(8, NAN);
}

TEST(ModelConfig, ReadsAndDerives) {
  const ModelConfig config = *read_config(FakeFile());
  EXPECT_EQ(config.head_dim, 16u);
  EXPECT_EQ(config.vocabulary, 100u);
  EXPECT_EQ(config.q_width(), 64u);
  EXPECT_EQ(config.kv_width(), 32u);
  EXPECT_FLOAT_EQ(config.score_scale, 0.25F);
  EXPECT_EQ(config.layer_window(0), 0u);
  const std::vector<double> f = frequencies(FakeFile());
  ASSERT_EQ(f.size(), 8u);
  for (size_t i = 0; i < 8; ++i) EXPECT_DOUBLE_EQ(f[i], std::pow(10000.0, -static_cast<double>(i) / 8));
}

TEST(ModelConfig, WindowsFollowThePattern) {
  ModelConfig config;
  config.window = 512;
  config.window_pattern = 6;
  for (uint32_t layer = 0; layer < 18; ++layer) EXPECT_EQ(config.layer_window(layer), (layer + 1) % 6 == 0 ? 0u : 512u);
}

TEST(Rope, LinearScalingSlowsEveryPair) {
  FakeFile file;
  file.set("llama.rope.scaling.type", std::string("linear"));
  file.set("llama.rope.scaling.factor", 4.0);
  const std::vector<double> plain = frequencies(FakeFile()), scaled = frequencies(file);
  for (size_t i = 0; i < 8; ++i) EXPECT_DOUBLE_EQ(scaled[i], plain[i] / 4);
}

TEST(Rope, Llama3KeepsShortWavesAndSlowsLongOnes) {
  FakeFile file;
  file.set("llama.rope.freq_base", 500000.0);
  const std::vector<double> plain = frequencies(file);
  file.set("llama.rope.scaling.type", std::string("llama3"));
  file.set("llama.rope.scaling.factor", 8.0);
  file.set("llama.rope.scaling.low_freq_factor", 1.0);
  file.set("llama.rope.scaling.high_freq_factor", 4.0);
  file.set("llama.rope.scaling.original_context_length", uint64_t{1024});
  const std::vector<double> scaled = frequencies(file);
  for (size_t i = 0; i < 8; ++i) {
    const double wavelength = 2 * M_PI / plain[i];
    double wanted = plain[i];
    if (wavelength > 1024.0 / 1.0) {
      wanted = plain[i] / 8;
    } else if (wavelength > 1024.0 / 4.0) {
      const double smooth = (1024.0 / wavelength - 1.0) / (4.0 - 1.0);
      wanted = (1 - smooth) * plain[i] / 8 + smooth * plain[i];
    }
    EXPECT_NEAR(scaled[i] / wanted, 1.0, 1e-12) << i;
  }
}

TEST(Rope, YarnJoinsBothEndsByARamp) {
  FakeFile file;
  file.set("llama.rope.scaling.type", std::string("yarn"));
  file.set("llama.rope.scaling.factor", 4.0);
  file.set("llama.rope.scaling.original_context_length", uint64_t{4096});
  const ModelConfig config = *read_config(file);
  const std::vector<double> plain = frequencies(FakeFile());
  // Pair 2.6 turns 32 times over 4096 tokens and pair 5.6 once: the ramp goes from 2 to 6.
  const std::vector<double>& scaled = config.rope[0].inverse_frequencies;
  for (const size_t i : {0, 1, 2}) EXPECT_DOUBLE_EQ(scaled[i], plain[i]);
  for (const size_t i : {6, 7}) EXPECT_DOUBLE_EQ(scaled[i], plain[i] / 4);
  EXPECT_DOUBLE_EQ(scaled[4], (plain[4] + plain[4] / 4) / 2);
  EXPECT_NEAR(config.rope[0].magnitude, 0.1 * std::log(4.0) + 1, 1e-12);
}

TEST(Rope, FactorsOfAFileDivide) {
  FakeFile file;
  const std::vector<float> factors = {1, 1, 1, 1, 2, 4, 8, 8};
  file.add_tensor("rope_freqs.weight", {8}, factors);
  const std::vector<double> plain = frequencies(FakeFile()), scaled = frequencies(file);
  for (size_t i = 0; i < 8; ++i) EXPECT_DOUBLE_EQ(scaled[i], plain[i] / factors[i]);
}

TEST(ModelConfig, NamesWhatIsWrong) {
  const auto error = [](const std::string& key, MetaValue value) {
    FakeFile file;
    file.set(key, std::move(value));
    const Result<ModelConfig> config = read_config(file);
    EXPECT_FALSE(config.ok()) << key;
    return config.ok() ? std::string() : config.error().message;
  };
  EXPECT_NE(error("llama.attention.head_count_kv", uint64_t{3}).find("3 KV heads"), std::string::npos);
  EXPECT_NE(error("llama.attention.head_count_kv", uint64_t{0}).find("head_count_kv"), std::string::npos);
  EXPECT_NE(error("llama.attention.head_count", uint64_t{0}).find("head_count"), std::string::npos);
  EXPECT_NE(error("llama.block_count", uint64_t{1} << 31).find("block_count"), std::string::npos);
  EXPECT_NE(error("llama.embedding_length", std::string("many")).find("embedding_length"), std::string::npos);
  EXPECT_NE(error("llama.rope.dimension_count", uint64_t{7}).find("dimension_count"), std::string::npos);
  EXPECT_NE(error("llama.rope.freq_base", -1.0).find("freq_base"), std::string::npos);
  EXPECT_NE(error("llama.attention.key_length", uint64_t{100000}).find("key_length"), std::string::npos);
  EXPECT_NE(error("llama.attention.value_length", uint64_t{8}).find("8"), std::string::npos);
  EXPECT_NE(error("llama.attention.layer_norm_rms_epsilon", std::nan("")).find("epsilon"), std::string::npos);
  EXPECT_NE(error("llama.rope.scaling.type", std::string("longrope")).find("longrope"), std::string::npos);
  EXPECT_NE(error(kQuantizedVersion, uint64_t{3}).find("is 3: the file was written by a newer Loci"),
            std::string::npos);
  EXPECT_NE(error(kTurnsInputs, uint64_t{1}).find(kTurnsInputs), std::string::npos);
}

TEST(Model, NamesTheTensorThatIsMissingOrMisshapen) {
  FakeFile file;
  const auto missing = Model::measure(file, Activations::kInt8);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("blk.0.attn_norm.weight"), std::string::npos);
  file.add_tensor("blk.0.attn_norm.weight", {64}, std::vector<float>(64, 1));
  file.add_tensor("blk.0.attn_q.weight", {64, 32});
  const auto misshapen = Model::measure(file, Activations::kInt8);
  ASSERT_FALSE(misshapen.ok());
  EXPECT_NE(misshapen.error().message.find("64 x 32"), std::string::npos) << misshapen.error().message;
  FakeFile odd;  // 67 x 2 columns
  odd.set("llama.embedding_length", uint64_t{134});
  odd.set("llama.attention.key_length", uint64_t{16});
  odd.set("llama.attention.value_length", uint64_t{16});
  odd.set(kTurnsInputs, true);
  odd.add_tensor("blk.0.attn_norm.weight", {134}, std::vector<float>(134, 1));
  const auto unturned = Model::measure(odd, Activations::kInt8);
  ASSERT_FALSE(unturned.ok());
  EXPECT_NE(unturned.error().message.find("134 columns cannot be turned"), std::string::npos)
      << unturned.error().message;
  FakeFile unknown;
  unknown.set("general.architecture", std::string("mamba"));
  EXPECT_EQ(Model::measure(unknown, Activations::kInt8).error().code, ErrorCode::kUnsupported);
}

TEST(Model, MeasuresWhatItPacks) {
  for (const char* name : {"models/needle-14m-q8_0.gguf", "models/stories260k.gguf", "tests/data/parity/tiny-qwen2"}) {
    const auto file = open_model_file(std::string(LOCI_SOURCE_DIR) + "/" + name);
    ASSERT_TRUE(file.ok()) << file.error().message;
    for (const Activations activations : {Activations::kInt16, Activations::kF32}) {
      ThreadPool pool(2);
      const ModelMeasure measured = *Model::measure(**file, activations);
      const Result<Model> model = Model::load(**file, activations, pool, {});  // compares the bytes itself
      ASSERT_TRUE(model.ok()) << model.error().message;
      EXPECT_EQ(model->layers().size(), measured.config.layers);
    }
  }
}

}  // namespace
}  // namespace loci

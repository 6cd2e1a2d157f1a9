// Hugging Face folders on disk: names, shards, tied embeddings, what must not be followed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/model_file.h"
#include "io/safetensors_writer.h"
#include "io/temporary_folder.h"

namespace loci {
namespace {

using testing::HasSubstr;

constexpr std::string_view kConfig = R"({"model_type": "llama", "hidden_size": 4, "intermediate_size": 4,
  "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 16, "vocab_size": 2)";

std::string config(std::string_view more = "") { return std::string(kConfig) + std::string(more) + "}"; }

// Tensors of one number each, in order.
std::vector<std::byte> weights(const std::vector<std::string>& names, std::string_view format = "F32",
                               size_t bytes = 4) {
  std::string header = "{";
  for (size_t i = 0; i < names.size(); ++i) {
    header += (i ? ", " : "") + safetensors_entry(names[i], format, "[1]", i * bytes, (i + 1) * bytes);
  }
  return safetensors_file(header + "}", names.size() * bytes);
}

std::string error_of(const TemporaryFolder& folder) {
  const auto model = open_model_file(folder.path());
  return model.ok() ? "" : model.error().message;
}

TEST(HfFolder, OpensASingleFile) {
  const TemporaryFolder folder;
  folder.write("config.json", config());
  folder.write("model.safetensors", weights({"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight",
                                             "model.layers.0.self_attn.rotary_emb.inv_freq", "lm_head.weight"}));
  folder.write("tokenizer.json", std::string_view("{\"model\": 1}"));
  folder.write("tokenizer_config.json", std::string_view("{}"));
  folder.write("chat_template.jinja", std::string_view("{{ messages }}"));
  const auto model = open_model_file(folder.path());
  ASSERT_TRUE(model.ok()) << model.error().message;
  const ModelFile& file = **model;
  EXPECT_EQ(file.format(), "safetensors");
  EXPECT_EQ(file.rope_pairing(), RopePairing::kHalves);
  EXPECT_TRUE(file.norms_store_offset());
  EXPECT_EQ(file.tensors().size(), 3u);
  ASSERT_NE(file.find("blk.0.ffn_up.weight"), nullptr);
  EXPECT_EQ(file.find("blk.0.ffn_up.weight")->data.size(), 4u);
  EXPECT_NE(file.find("output.weight"), nullptr);
  EXPECT_EQ(file.tokenizer_json(), "{\"model\": 1}");
  EXPECT_EQ(file.tokenizer_config_json(), "{}");
  EXPECT_EQ(*file.metadata().text("tokenizer.chat_template"), "{{ messages }}");
  EXPECT_EQ(*file.metadata().u32("llama.block_count"), 1u);
}

TEST(HfFolder, GemmaStoresItsNormsWithoutTheOne) {
  const TemporaryFolder folder;
  folder.write("config.json",
               std::string_view(R"({"model_type": "gemma3_text", "hidden_size": 4, "intermediate_size": 4,
                                                   "num_hidden_layers": 1})"));
  folder.write("model.safetensors", weights({"model.norm.weight"}));
  const auto model = open_model_file(folder.path());
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_FALSE((*model)->norms_store_offset());
}

TEST(HfFolder, TiedEmbeddingsHaveNoOutput) {
  const TemporaryFolder folder;
  folder.write("model.safetensors", weights({"model.embed_tokens.weight", "lm_head.weight"}));
  folder.write("config.json", config(R"(, "tie_word_embeddings": true)"));
  const auto tied = open_model_file(folder.path());
  ASSERT_TRUE(tied.ok()) << tied.error().message;
  EXPECT_EQ((*tied)->find("output.weight"), nullptr);
  folder.write("config.json", config(R"(, "tie_word_embeddings": false)"));
  EXPECT_EQ(error_of(folder), "");
  folder.write("model.safetensors", weights({"model.embed_tokens.weight"}));
  EXPECT_THAT(error_of(folder), HasSubstr("no tensor 'lm_head.weight'"));
  folder.write("config.json", config());
  EXPECT_EQ(error_of(folder), "");
}

TEST(HfFolder, OpensShards) {
  const TemporaryFolder folder;
  folder.write("config.json", config());
  folder.write("model-1.safetensors", weights({"model.embed_tokens.weight"}));
  folder.write("model-2.safetensors", weights({"model.norm.weight", "lm_head.weight"}));
  folder.write("model.safetensors.index.json", std::string_view(R"({"metadata": {"total_size": 12}, "weight_map": {
      "model.embed_tokens.weight": "model-1.safetensors", "model.norm.weight": "model-2.safetensors",
      "lm_head.weight": "model-2.safetensors"}})"));
  const auto model = open_model_file(folder.path());
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ((*model)->tensors().size(), 3u);
}

TEST(HfFolder, RefusesShardsThatContradictTheIndex) {
  const TemporaryFolder folder;
  folder.write("config.json", config());
  folder.write("a.safetensors", weights({"model.norm.weight"}));
  const auto index = [&](const char* map) {
    folder.write("model.safetensors.index.json", std::string(R"({"weight_map": )") + map + "}");
    return error_of(folder);
  };
  EXPECT_EQ(index(R"({"model.norm.weight": "a.safetensors"})"), "");
  EXPECT_THAT(index(R"({"model.norm.weight": "a.safetensors", "lm_head.weight": "a.safetensors"})"),
              HasSubstr("lists 2 tensors, but its files hold 1"));
  EXPECT_THAT(index(R"({"lm_head.weight": "a.safetensors"})"), HasSubstr("does not place there"));
  EXPECT_THAT(index(R"({"lm_head.weight": "b.safetensors"})"), HasSubstr("No such file"));
  EXPECT_THAT(index("[]"), HasSubstr("no object 'weight_map'"));
  EXPECT_THAT(index(R"({"w": 7})"), HasSubstr("not the name of a .safetensors file"));
}

TEST(HfFolder, ShardsStayInTheFolder) {
  const TemporaryFolder folder;
  folder.write("config.json", config());
  std::filesystem::create_directory(folder.path() / "sub");
  folder.write("sub/a.safetensors", weights({"model.norm.weight"}));
  const std::string outside = (folder.path() / "sub" / "a.safetensors").string();
  for (const std::string& name : {std::string("sub/a.safetensors"), std::string("../a.safetensors"), outside,
                                  std::string(".."), std::string(""), std::string(".safetensors"), std::string("a.bin"),
                                  std::string("..\\\\a.safetensors"), std::string("a\\u0000.safetensors")}) {
    folder.write("model.safetensors.index.json", R"({"weight_map": {"model.norm.weight": ")" + name + "\"}}");
    EXPECT_THAT(error_of(folder), HasSubstr("not the name of a .safetensors file in the same folder")) << name;
  }
}

TEST(HfFolder, NamesTensorsThatDoNotBelong) {
  const TemporaryFolder folder;
  folder.write("config.json", config());
  folder.write("model.safetensors", weights({"model.layers.0.mlp.experts.0.up_proj.weight"}));
  EXPECT_THAT(error_of(folder),
              HasSubstr("'model.layers.0.mlp.experts.0.up_proj.weight' is not part of a llama model"));
  folder.write("model.safetensors", weights({"model.norm.weight"}, "F8_E4M3", 1));
  EXPECT_THAT(error_of(folder), HasSubstr("'model.norm.weight' has the number format F8_E4M3"));
  folder.write("model.safetensors", weights({"model.norm.weight", "language_model.model.norm.weight"}));
  EXPECT_THAT(error_of(folder), HasSubstr("are both 'output_norm.weight'"));
}

TEST(HfFolder, NamesWhatIsMissing) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of(folder), HasSubstr("config.json"));
  folder.write("config.json", config());
  EXPECT_THAT(error_of(folder), HasSubstr("neither model.safetensors nor model.safetensors.index.json"));
}

// 3 MB of brackets in each file cost no stack and little memory.
TEST(HfFolder, DeepJsonIsAnError) {
  const TemporaryFolder folder;
  const std::string deep(3'000'000, '[');
  folder.write("config.json", config());
  folder.write("model.safetensors.index.json", deep);
  EXPECT_THAT(error_of(folder), HasSubstr("deeper than the allowed 4 levels"));
  folder.write("config.json", deep);
  EXPECT_THAT(error_of(folder), HasSubstr("config.json has 3000000 bytes"));
  folder.write("config.json", deep.substr(0, 100'000));
  EXPECT_THAT(error_of(folder), HasSubstr("deeper than the allowed 32 levels"));
}

}  // namespace
}  // namespace loci

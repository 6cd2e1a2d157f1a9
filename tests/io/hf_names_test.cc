#include "io/hf_names.h"

#include <gtest/gtest.h>

namespace loci {
namespace {

std::string renamed(std::string_view name, std::string_view architecture = "llama") {
  return gguf_tensor_name(name, architecture).value_or("(none)");
}

TEST(HfNames, Llama) {
  EXPECT_EQ(renamed("model.embed_tokens.weight"), "token_embd.weight");
  EXPECT_EQ(renamed("model.norm.weight"), "output_norm.weight");
  EXPECT_EQ(renamed("lm_head.weight"), "output.weight");
  EXPECT_EQ(renamed("model.layers.0.self_attn.q_proj.weight"), "blk.0.attn_q.weight");
  EXPECT_EQ(renamed("model.layers.12.self_attn.k_proj.bias"), "blk.12.attn_k.bias");
  EXPECT_EQ(renamed("model.layers.1.self_attn.v_proj.weight"), "blk.1.attn_v.weight");
  EXPECT_EQ(renamed("model.layers.1.self_attn.o_proj.weight"), "blk.1.attn_output.weight");
  EXPECT_EQ(renamed("model.layers.1.self_attn.q_norm.weight"), "blk.1.attn_q_norm.weight");
  EXPECT_EQ(renamed("model.layers.1.self_attn.k_norm.weight"), "blk.1.attn_k_norm.weight");
  EXPECT_EQ(renamed("model.layers.1.mlp.gate_proj.weight"), "blk.1.ffn_gate.weight");
  EXPECT_EQ(renamed("model.layers.1.mlp.up_proj.weight"), "blk.1.ffn_up.weight");
  EXPECT_EQ(renamed("model.layers.1.mlp.down_proj.weight"), "blk.1.ffn_down.weight");
  EXPECT_EQ(renamed("model.layers.1.input_layernorm.weight"), "blk.1.attn_norm.weight");
  EXPECT_EQ(renamed("model.layers.1.post_attention_layernorm.weight"), "blk.1.ffn_norm.weight");
}

TEST(HfNames, GemmaNormsAreOthers) {
  EXPECT_EQ(renamed("model.layers.1.post_attention_layernorm.weight", "gemma3"), "blk.1.post_attention_norm.weight");
  EXPECT_EQ(renamed("model.layers.1.pre_feedforward_layernorm.weight", "gemma3"), "blk.1.ffn_norm.weight");
  EXPECT_EQ(renamed("model.layers.1.post_feedforward_layernorm.weight", "gemma3"), "blk.1.post_ffw_norm.weight");
  EXPECT_EQ(renamed("model.layers.1.pre_feedforward_layernorm.weight", "llama"), "(none)");
}

TEST(HfNames, PrefixesOfMultimodalModels) {
  EXPECT_EQ(renamed("language_model.model.norm.weight", "gemma3"), "output_norm.weight");
  EXPECT_EQ(renamed("language_model.lm_head.weight", "gemma3"), "output.weight");
  EXPECT_EQ(renamed("model.language_model.layers.3.mlp.up_proj.weight", "gemma3"), "blk.3.ffn_up.weight");
  EXPECT_TRUE(is_unused_tensor("vision_tower.vision_model.embeddings.patch_embedding.weight"));
  EXPECT_TRUE(is_unused_tensor("model.multi_modal_projector.mm_input_projection_weight"));
  EXPECT_TRUE(is_unused_tensor("model.layers.0.self_attn.rotary_emb.inv_freq"));
  EXPECT_FALSE(is_unused_tensor("model.layers.0.mlp.up_proj.weight"));
}

TEST(HfNames, OtherNamesHaveNone) {
  for (const char* name : {"", "weight", "model", "model.layers.0", "model.layers..mlp.up_proj.weight",
                           "model.layers.01.mlp.up_proj.weight", "model.layers.x.mlp.up_proj.weight",
                           "model.layers.0.mlp.up_proj.scale", "model.layers.0.block_sparse_moe.gate.weight",
                           "model.norm", "model.embed_tokens.weight.weight", "model.layers.-1.mlp.up_proj.weight"}) {
    EXPECT_EQ(renamed(name), "(none)") << name;
  }
}

}  // namespace
}  // namespace loci

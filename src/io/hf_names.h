// The names of tensors in Hugging Face folders, in GGUF's words.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace loci {

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight". `architecture` is GGUF's: the two norms of a Gemma
// layer's end are named otherwise. Empty if the name is none of the text model's.
std::optional<std::string> gguf_tensor_name(std::string_view name, std::string_view architecture);

// Whether a text model may leave this tensor unread: the parts for images of a multimodal model, and buffers that are
// computed from the configuration.
bool is_unused_tensor(std::string_view name);

}  // namespace loci

#include "attention/mix/head_list.h"

#include <algorithm>
#include <charconv>

namespace loci {
namespace {

// "5.3" in full.
bool read_head(std::string_view text, uint32_t& layer, uint32_t& head) {
  const char* end = text.data() + text.size();
  const auto [dot, bad_layer] = std::from_chars(text.data(), end, layer);
  if (bad_layer != std::errc() || dot == end || *dot != '.') return false;
  const auto [last, bad_head] = std::from_chars(dot + 1, end, head);
  return bad_head == std::errc() && last == end;
}

}  // namespace

Result<HeadSet> HeadSet::parse(std::string_view text, const ModelShape& model) {
  HeadSet out(model);
  if (text == "none") return out;
  if (text == "all") {
    std::fill(out.chosen_.begin(), out.chosen_.end(), true);
    return out;
  }
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('+', begin), text.size());
    uint32_t layer = 0, head = 0;
    if (!read_head(text.substr(begin, end - begin), layer, head) || layer >= model.layers ||
        head >= model.query_heads) {
      return fail(ErrorCode::kInvalidArgument,
                  "heads: '{}' is no query head of the model; write LAYER.HEAD with + between, as in 4.0+5.3, with "
                  "layers up to {} and heads up to {}",
                  text.substr(begin, end - begin), model.layers - 1, model.query_heads - 1);
    }
    out.add(LayerId(layer), QueryHead(head));
    begin = end + 1;
  }
  return out;
}

bool HeadSet::empty() const {
  return std::none_of(chosen_.begin(), chosen_.end(), [](bool b) { return b; });
}

}  // namespace loci

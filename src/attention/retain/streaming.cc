// Streaming heads: attention sinks and a window of recent entries.
// Xiao et al., Efficient Streaming Language Models with Attention Sinks, arXiv:2309.17453; positions stay as they are.
#include "attention/retain/retain.h"

namespace loci {
namespace {

struct StreamingOptions {
  int64_t sinks = 4;
  int64_t window = 1024;
};

class Streaming final : public Retain {
 public:
  explicit Streaming(const StreamingOptions& options)
      : kept_{.sinks = static_cast<uint32_t>(options.sinks), .window = static_cast<uint32_t>(options.window)} {}

  Pattern pattern(LayerId, KvHead, Phase, const RequestFacts&) const override { return kept_; }

 private:
  Pattern kept_;
};

Result<std::unique_ptr<Retain>> make_streaming(const MethodCall& call, const MethodContext& context) {
  const auto options = call.as<StreamingOptions>();
  // A window that holds every sequence is the dense read itself.
  if (static_cast<uint64_t>(options.window) >= context.context) return std::make_unique<Retain>();
  return std::unique_ptr<Retain>(std::make_unique<Streaming>(options));
}

}  // namespace

const Method kStreaming = {
    .name = "streaming",
    .summary = "A head keeps the first entries and the last ones, and forgets what lies between.",
    .stages = {Stage::kRetain},
    .parameters = {integer<&StreamingOptions::sinks>("sinks", {0, 4096}, "entries", "kept at the beginning"),
                   integer<&StreamingOptions::window>("window", {1, 1 << 24}, "entries",
                                                      "kept at the end, a query's own included")},
    .citation = "Efficient Streaming Language Models with Attention Sinks, arXiv:2309.17453",
    .dense_when = "window >= context",
    .trial = "sinks=4,window=40",
    .dense_trial = "window=1048576",
    .make_retain = make_streaming,
};

}  // namespace loci

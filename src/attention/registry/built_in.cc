// The methods that Loci has: one line each.
#include "attention/registry/registry.h"
#include "attention/retain/retain.h"
#include "attention/select/select.h"

namespace loci {

const Method kDense = {
    .name = "dense",
    .summary = "Every entry is kept, every query reads all it may see, and the result is their softmax.",
    .stages = {Stage::kRetain, Stage::kSelect, Stage::kMix},
    .dense_when = "always",
    .changes_prompt = never,
};

const Method kStoreKv16 = {
    .name = "kv16",
    .summary = "Keys and values are stored as 16-bit floats.",
    .stages = {Stage::kStore},
    .granularity = Granularity::kLayer,
    .codec = KvCodec::kKv16,
};

const Method kStoreKv8 = {
    .name = "kv8",
    .summary = "Keys and values are stored in 8 bits, with a step per 32 dimensions of an entry and keys rotated.",
    .stages = {Stage::kStore},
    .granularity = Granularity::kLayer,
    .codec = KvCodec::kKv8,
};

const Method kStoreKv4 = {
    .name = "kv4",
    .summary = "Keys and values are stored in 4 bits, with a step per 32 dimensions of an entry and keys rotated.",
    .stages = {Stage::kStore},
    .granularity = Granularity::kLayer,
    .codec = KvCodec::kKv4,
};

const Registry& built_in_registry() {
  static const Registry registry(
      {&kDense, &kStoreKv16, &kStoreKv8, &kStoreKv4, &kStreaming, &kSnapKv, &kTokenSelect, &kRecycled}, {});
  return registry;
}

}  // namespace loci

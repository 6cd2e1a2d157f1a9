// A plan made for a loaded model: the methods' objects, who answers for which head, and the calls of a forward pass.
//
// The engine lays the cache out by classes(), admits by page_bytes(), narrows tables when a prompt begins and ends, and
// runs the stages layer by layer. Immutable once made; any thread may ask, a pass belongs to one.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "attention/plan/plan.h"
#include "attention/stages/stage.h"
#include "cache/sequence_cache.h"
#include "kernels/cpu/attention/attention_kernels.h"

namespace loci {

// One sequence in one layer of a pass.
struct LayerPass {
  OpContext& ops;
  const SequenceCache& cache;
  SequenceState& state;
  const RequestFacts& facts;
  LayerId layer{0};
  Phase phase = Phase::kPrefill;
  bool prompt_ends = false;
  uint32_t first_position = 0;
  ReadPrecision precision = ReadPrecision::kFp32;
  Rows queries;
  double* read_seconds = nullptr;  // not null: grows by what Selects spend reading
};

// What heads of one table keep, to be applied after the pass.
struct KeptEntries {
  LayerId layer{0};
  std::vector<KvHead> heads;
  std::vector<SlotId> slots;
};

// Bytes of pages of one sequence in one layer.
struct LayerBytes {
  uint64_t reading = 0;  // until the prompt's end
  uint64_t writing = 0;  // from then on
  uint64_t copied = 0;   // on top while the layer is compacted, one layer after the other
};

class Stages {
 public:
  // kInvalidArgument or kNotFound says which method cannot be made for this model, and why.
  static Result<Stages> make(const AttentionPlan& plan, const ModelShape& model, const MethodContext& context);
  Stages(Stages&&) noexcept;
  Stages& operator=(Stages&&) noexcept;
  ~Stages();

  const ModelShape& model() const { return model_; }

  // Heads of a layer that share a table from the start.
  std::vector<std::vector<KvHead>> classes(LayerId layer) const;
  // What a head keeps at all times of a phase.
  Pattern pattern(LayerId layer, KvHead head, Phase phase, const RequestFacts& facts) const;
  // Pages that a sequence holds of one layer, and of all at its peak, fed by passes of at most `span` positions from a
  // page border on; bounds of a layer's scratch and of a sequence's state.
  LayerBytes layer_bytes(const LayerShape& shape, LayerId layer, uint32_t prompt, uint32_t total, uint32_t span) const;
  uint64_t page_bytes(std::span<const LayerShape> layers, uint32_t prompt, uint32_t total, uint32_t span) const;
  uint64_t state_bytes(const StageBounds& bounds) const;
  // Without the reads' lse, which a pass takes for all of its rows if any of its sequences mixes.
  uint64_t scratch_bytes(const StageBounds& bounds) const;

  // Sets the patterns of all tables for the phase that begins.
  void narrow(SequenceCache& cache, Phase phase, const RequestFacts& facts) const;

  // Selections by table of the pass's layer; tile == 0: the table is read as a whole.
  void name_reads(const LayerPass& pass, std::vector<Selection>& selections) const;
  // Entries beside the tables, by KV head; none: `extras` stays empty.
  void add_entries(const LayerPass& pass, std::vector<ExtraEntry>& extras) const;
  bool mixes() const { return !mixes_.empty(); }
  bool mixes(LayerId layer) const { return !layers_[layer.value].mixing.empty(); }
  void mix(const LayerPass& pass, Rows o, std::span<const float> lse) const;
  // What a listener sees of the pass, with arrays of state that no method has.
  View watch(const LayerPass& pass) const { return view(pass, methods_); }
  // What is kept of the layer, if the prompt ends in this pass.
  void after_prompt(const LayerPass& pass, std::vector<KeptEntries>& out) const;

 private:
  template <typename T>
  struct Made {
    MethodCall call;
    std::unique_ptr<T> object;
    uint32_t number = 0;  // of the method's state
  };
  static constexpr uint32_t kNone = ~0u;

  struct MixHeads {
    uint32_t method;
    std::vector<QueryHead> heads;
  };
  struct Layer {
    std::vector<std::vector<uint32_t>> retain;                      // by KV head
    std::array<std::vector<uint32_t>, kPhases.size()> select = {};  // by KV head; kNone: dense
    std::vector<MixHeads> mixing;
    std::vector<bool> cut_off;  // by KV head: what it reads is thrown away
  };

  Stages() = default;
  template <typename T>
  Result<uint32_t> add(std::vector<Made<T>>& made, const MethodCall& call, Make<T> maker, const MethodContext& context);
  Status add_layer(const AttentionPlan& plan, LayerId layer, const MethodContext& context);
  bool cut_off(const Layer& layer, LayerId id, KvHead head) const;
  View view(const LayerPass& pass, uint32_t number) const;
  // Tables of the pass's layer for whose heads the s-th Select answers in `phase`; false: none.
  bool asked(const LayerPass& pass, Phase phase, uint32_t select, std::span<bool> mine) const;
  std::vector<KvHead> heads_of(const Layer& layer, uint32_t retain) const;
  uint64_t kept_of_prompt(LayerId layer, KvHead head, const RequestFacts& facts) const;
  uint64_t stripes_after(LayerId layer, KvHead head, uint32_t prompt, uint32_t total, uint32_t span) const;
  bool edited(LayerId layer, KvHead head) const;

  ModelShape model_;
  std::vector<Made<Retain>> retains_;
  std::vector<Made<Select>> selects_;
  std::vector<Made<Mix>> mixes_;
  uint32_t methods_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace loci

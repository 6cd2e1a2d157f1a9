// The classes that methods implement: one for each question that they answer.
//
// An object belongs to one call in a plan and one loaded model, and serves all its sequences, layers and heads: it is
// immutable, and what it remembers of a sequence lies in that sequence's state. The engine asks it only for the layers
// and heads that the plan names, and what it keeps or selects never for layers with a window of the model's own.
// Scratch comes from the pass's workspace; an object says beforehand how much it takes at most, and how much state.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/stages/view.h"
#include "cache/pattern.h"

namespace loci {

// Bounds by which scratch and state are planned: of one sequence in one layer.
struct StageBounds {
  uint32_t rows = 0;    // of a pass
  uint32_t tokens = 0;  // of a sequence
  int threads = 1;
};

// Which entries a head keeps.
class Retain {
 public:
  virtual ~Retain() = default;

  // What a head keeps and reads of the sequence at all times of a phase, as a closed form; dense if there is none.
  virtual Pattern pattern(LayerId, KvHead, Phase, const RequestFacts&) const { return {}; }
  // Heads of a layer with equal numbers keep the same entries until the prompt ends, and share a table.
  virtual uint32_t head_class(LayerId, KvHead) const { return 0; }
  // Entries that a head holds at most when a prompt of `prompt` tokens has been read, if not bounded by its pattern.
  virtual uint64_t kept(LayerId, KvHead, uint32_t prompt) const { return prompt; }

  // Whether after_prompt() keeps less than everything, for some head.
  virtual bool edits() const { return false; }
  virtual void after_prompt(const View&, CacheEdit&) const {}
  // Entries beside the tables, for rows of the phase kDecode: extras[h] of KV head h.
  virtual void add_entries(const View&, std::span<ExtraEntry> /*extras*/) const {}

  virtual uint64_t state_bytes(LayerId, const StageBounds&) const { return 0; }
  virtual uint64_t scratch_bytes(const StageBounds&) const { return 0; }
};

// Which of the kept entries a query reads.
class Select {
 public:
  virtual ~Select() = default;

  virtual void name_reads(const View&, ReadBuilder&) const = 0;
  // Asked of a decode step's method when a prompt has been read, before anything is taken out: what its steps begin
  // with. `mine[t]`: it answers for the heads of table t, which is there as a whole.
  virtual void after_prompt(const View&, std::span<const bool> /*mine*/) const {}

  virtual uint64_t state_bytes(LayerId, const StageBounds&) const { return 0; }
  virtual uint64_t scratch_bytes(const StageBounds&) const { return 0; }
};

// How what was read is combined. `heads` are the query heads that ask.
class Mix {
 public:
  virtual ~Mix() = default;

  // o [rows, query_heads * head_dim] is changed in place; lse [rows * query_heads] is that of the reads.
  virtual void after_read(const View&, std::span<const QueryHead> heads, Rows o, std::span<const float> lse) const = 0;
  // Whether the head's output is nothing, whatever it reads. A KV head of whose query heads all are so, and which no
  // other method is asked for, keeps and reads its own entry alone.
  virtual bool cuts_off(LayerId, QueryHead) const { return false; }

  virtual uint64_t state_bytes(LayerId, const StageBounds&) const { return 0; }
  virtual uint64_t scratch_bytes(const StageBounds&) const { return 0; }
};

}  // namespace loci

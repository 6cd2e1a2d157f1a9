// Names of token prefixes: every block of 64 tokens has a 128-bit number made of its parent's number and its tokens,
// and the first block's parent is the root: the number of (model, plan, salt). Equal numbers mean equal prefixes but
// for collisions, which the index rules out by comparing tokens.
//
// The hash is XXH3-128 with a secret of its own, so that nobody who does not know the secret can prepare prompts that
// collide and crowd one another out. Immutable; any thread. Cost: about 20 ns a block.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "loci/types.h"

namespace loci {

inline constexpr size_t kPrefixBlock = 64;  // tokens of a block

struct BlockHash {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const BlockHash&) const = default;
};

// What must agree, besides the tokens, before one prompt may use another's entries.
struct PrefixSeed {
  std::string model;  // the model's fingerprint
  std::string plan;   // the part of the plan that can change prompt entries, canonical, and the declared request data
  std::string salt;   // of the tenant; empty: shared by all
};

class BlockHasher {
 public:
  virtual ~BlockHasher() = default;
  // `identity` is any bytes.
  virtual BlockHash root(std::string_view identity) const = 0;
  virtual BlockHash next(const BlockHash& parent, std::span<const TokenId, kPrefixBlock> tokens) const = 0;
};

class KeyedHasher final : public BlockHasher {
 public:
  static constexpr size_t kSecretBytes = 192;
  using Secret = std::array<std::byte, kSecretBytes>;

  // Bytes from the system's generator; kIo if it gives none.
  static Result<Secret> random_secret();
  explicit KeyedHasher(const Secret& secret) : secret_(secret) {}

  BlockHash root(std::string_view identity) const override;
  BlockHash next(const BlockHash& parent, std::span<const TokenId, kPrefixBlock> tokens) const override;

 private:
  Secret secret_;
};

// The seed as one string; different seeds give different strings.
std::string identity(const PrefixSeed& seed);

}  // namespace loci

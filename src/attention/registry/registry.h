// The methods and presets that plans may name.
//
// built_in_registry() is what the product has; tests make registries of their own. A registry refers to its methods and
// must outlive the plans parsed with it. Immutable; any thread.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/registry/method.h"

namespace loci {

class Registry {
 public:
  Registry(std::vector<const Method*> methods, std::vector<Preset> presets)
      : methods_(std::move(methods)), presets_(std::move(presets)) {}

  std::span<const Method* const> methods() const { return methods_; }
  std::span<const Preset> presets() const { return presets_; }

  const Method* find(std::string_view name) const;  // null if there is none
  const Preset* find_preset(std::string_view name) const;

  std::vector<std::string> names(Stage stage) const;  // of the methods that answer it
  std::vector<std::string> names() const;             // of all methods and presets

  // Why the two do not compose on the same heads, whichever of them says so; nothing if they do.
  static std::optional<std::string_view> exclusion(const Method& a, const Method& b);

  // What is wrong with the registry, one sentence each: names twice, defaults out of range, no factory for a stage, no
  // citation, presets that do not parse. Empty for a good one; a test asks the built-in one.
  std::vector<std::string> problems() const;

 private:
  std::vector<const Method*> methods_;
  std::vector<Preset> presets_;
};

const Registry& built_in_registry();

// The answer of a stage that a plan does not mention: everything is kept, every entry is read, plain softmax.
extern const Method kDense;
extern const Method kStoreKv16;
extern const Method kStoreKv8;
extern const Method kStoreKv4;

}  // namespace loci

// What methods remember of one sequence: named arrays of plain numbers, by method and layer.
//
// There is no state anywhere else, so fork, trim, bytes and saving are the same for every method. An array is replaced
// by writing a new version of it; versions are shared between forks and never change once the pass is over. trim(n)
// goes back to the versions that held when the sequence had n tokens, if they are not older than kRollback tokens;
// arrays whose past is not known are forgotten, and the method begins anew. Numbers that mean places are positions, not
// slots, so edits leave them valid. One thread at a time.
//
// Beside the arrays a method may keep what can be made from them and the cache again, to save time: it is not forked
// nor saved, and a trim forgets it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/assert.h"

namespace loci {

class SequenceState {
 public:
  static constexpr uint32_t kRollback = 64;  // tokens

  struct Key {
    uint32_t method = 0;  // its number in the plan
    uint32_t layer = 0;
    std::string name;
    auto operator<=>(const Key&) const = default;
  };

  // Empty if there is none.
  std::span<const std::byte> read(const Key& key) const;
  // A new version, zeroed, of an array as of `tokens`.
  std::span<std::byte> write(const Key& key, size_t bytes, uint32_t tokens);

  // What is derived from arrays and entries; made by default at the first call.
  template <typename T>
  T& derived(const Key& key) {
    std::shared_ptr<void>& held = derived_.objects[key];
    if (held == nullptr) held = std::make_shared<T>();
    return *static_cast<T*>(held.get());
  }

  void trim(uint32_t tokens);
  void clear() {
    arrays_.clear();
    derived_.objects.clear();
  }
  uint64_t bytes() const;  // of the present versions

  // The present version of every array, for saving.
  std::vector<std::pair<Key, std::span<const std::byte>>> arrays() const;

 private:
  struct Version {
    uint32_t tokens;
    std::shared_ptr<std::vector<std::byte>> data;
  };
  // Stays behind when the state is copied.
  struct Derived {
    std::map<Key, std::shared_ptr<void>> objects;

    Derived() = default;
    Derived(const Derived&) {}
    Derived(Derived&&) = default;
    Derived& operator=(const Derived&) {
      objects.clear();
      return *this;
    }
    Derived& operator=(Derived&&) = default;
    ~Derived() = default;
  };

  std::map<Key, std::vector<Version>> arrays_;
  Derived derived_;
};

// The arrays of one method in one layer.
class MethodState {
 public:
  MethodState(SequenceState& all, uint32_t method, uint32_t layer, uint32_t tokens)
      : all_(all), method_(method), layer_(layer), tokens_(tokens) {}

  template <typename T>
  std::span<const T> read(std::string_view name) const {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::span<const std::byte> bytes = all_.read({method_, layer_, std::string(name)});
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  template <typename T>
  std::span<T> write(std::string_view name, size_t count) const {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::span<std::byte> bytes = all_.write({method_, layer_, std::string(name)}, count * sizeof(T), tokens_);
    return {reinterpret_cast<T*>(bytes.data()), count};
  }
  // One type per name.
  template <typename T>
  T& derived(std::string_view name) const {
    return all_.derived<T>({method_, layer_, std::string(name)});
  }
  template <typename T>
  void store(std::string_view name, std::span<const T> values) const {
    const std::span<T> to = write<T>(name, values.size());
    std::copy(values.begin(), values.end(), to.begin());
  }

 private:
  SequenceState& all_;
  uint32_t method_;
  uint32_t layer_;
  uint32_t tokens_;
};

}  // namespace loci

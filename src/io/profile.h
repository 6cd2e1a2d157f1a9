// Profiles: numbers that a calibration wrote for the heads of one model (docs/formats/profile.md). JSON; a reader
// checks sizes before it uses them. Plain data.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loci {

struct Profile {
  std::string kind;     // the calibration: "retrieval-heads", "duo", ...
  std::string model;    // fingerprint of the model that it was made for
  std::string command;  // that made it
  double seconds = 0;   // that it took
  uint32_t layers = 0;
  uint32_t heads = 0;  // per layer: KV heads or query heads, as the kind says
  // [layers * heads], layer by layer.
  std::map<std::string, std::vector<double>> values;
  std::map<std::string, double> settings;

  // kNotFound names what is missing and what there is.
  Result<std::span<const double>> table(const std::string& name) const;
};

// kNotFound, kIo, or kCorrupt with the field and its limit.
Result<Profile> read_profile(const std::string& path);
Result<Profile> parse_profile(std::string_view json);
// Writes the whole file or nothing.
Status write_profile(const Profile& profile, const std::string& path);

// The profile of `kind` for a model: the file `name`, or the shipped one if `name` is "auto". kNotFound says how to
// make one, kInvalidArgument that it belongs to another model.
Result<Profile> find_profile(const std::string& kind, const std::string& name, const std::string& model);

}  // namespace loci

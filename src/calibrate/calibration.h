// A calibration: pieces of work on one model, in a fixed order, whose numbers add up to a profile.
//
// Pieces do not depend on each other, so their numbers are kept in a file beside the profile as they come: a
// calibration that was stopped goes on where it was and ends with the same profile. A piece's numbers are exact in that
// file. One thread at a time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/subject.h"
#include "io/profile.h"

namespace loci {

class Calibration {
 public:
  virtual ~Calibration() = default;

  virtual std::string_view kind() const = 0;
  virtual uint32_t pieces() const = 0;
  // What the numbers depend on besides the model: it tells runs apart, and goes into the profile.
  virtual std::map<std::string, double> settings() const = 0;
  // The numbers of piece `index`. `progress` takes the share done.
  using OnShare = std::function<void(double share)>;
  virtual Result<std::vector<double>> run(uint32_t index, const Cancelled& cancelled, const OnShare& progress) = 0;
  // The profile's tables, heads and settings from the numbers of all pieces. kUnsupported says why there is none.
  virtual Result<Profile> conclude(std::span<const std::vector<double>> pieces) const = 0;
};

struct CalibrationRun {
  std::string fingerprint;  // of the model
  std::string state_path;   // where pieces are kept; removed when the profile is made
  std::string command;      // for the profile
  Cancelled cancelled;
  std::function<void(double done, double total)> on_progress;  // in pieces
};

// Runs what is left. kCancelled leaves the state file; kInvalidArgument says that it belongs to another run.
Result<Profile> calibrate(Calibration& calibration, const CalibrationRun& run);

}  // namespace loci

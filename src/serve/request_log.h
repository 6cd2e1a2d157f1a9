// One JSON object a line for every request, on stderr: time, request id, route, status, tenant, plan, tokens, times.
// Any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace loci {

// Lines go to stderr from now on; before, they are dropped.
void open_request_log();
// Adds the time, to the millisecond, in UTC.
void log_request(const nlohmann::ordered_json& line);

}  // namespace loci

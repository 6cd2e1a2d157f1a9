#include "serve/request_log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>

namespace loci {
namespace {

std::shared_ptr<spdlog::logger>& logger() {
  static std::shared_ptr<spdlog::logger> of = [] {
    auto made = std::make_shared<spdlog::logger>("requests", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ",%v})", spdlog::pattern_time_type::utc);
    return made;
  }();
  return of;
}

std::atomic<bool> open{false};

}  // namespace

void open_request_log() { open = true; }

void log_request(const nlohmann::ordered_json& line) {
  if (!open) return;
  const std::string text = line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  if (text.size() > 2) logger()->info("{}", text.substr(1, text.size() - 2));
}

}  // namespace loci

// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_SUPERVISE_CONFIG_HPP
#define PROCYARD_EXAMPLES_SUPERVISE_CONFIG_HPP

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <procyard/runtime/rotating_file.hpp>
#include <procyard/runtime/supervision.hpp>

namespace supervise {

// Who is asked from outside.
struct probe_config {
    enum class kind { tcp, http, command };
    kind what = kind::tcp;
    std::uint16_t port = 0;  // of the loopback, with tcp
    std::string text{};      // the URL, or the command for /bin/sh
};

// What a service counts as ready by.
struct ready_config {
    enum class kind { started, notify, newline, line, probe };
    kind what = kind::started;
    int number = 0;      // of the descriptor
    std::string text{};  // of the line
    probe_config probe{};
};

struct health_config {
    std::optional<probe_config> probe{};
    std::chrono::nanoseconds interval = std::chrono::seconds(10);
    unsigned failures = 3;
    std::chrono::nanoseconds most = std::chrono::seconds(1);
};

// One `[name]` block, with the defaults of the library.
struct service_config {
    std::string name{};
    std::string command{};  // for /bin/sh
    std::filesystem::path directory{};
    std::map<std::string, std::string> environment{};
    std::vector<std::string> depends_on{};
    procyard::restart_kind restart = procyard::restart_kind::permanent;
    bool one_shot = false;
    ready_config ready{};
    std::optional<std::chrono::nanoseconds> start_timeout{};
    std::chrono::nanoseconds grace = std::chrono::seconds(5);
    std::optional<std::chrono::nanoseconds> watchdog{};
    health_config health{};
    std::chrono::nanoseconds may_extend{};
    procyard::restart_backoff backoff{};
    std::map<std::string, std::uint16_t> listen{};  // name to TCP port of the loopback
    unsigned keep_descriptors = 0;
    std::filesystem::path log{};
    procyard::rotation rotation{};
};

struct config {
    procyard::restart_strategy strategy = procyard::restart_strategy::one_for_one;
    procyard::restart_intensity intensity{.restarts = 10, .window = std::chrono::seconds(60)};
    std::chrono::nanoseconds stop_budget = std::chrono::seconds(10);
    std::filesystem::path state{};
    // If the runner is killed, what its services have started is killed as well.
    bool guardian = true;
    // Each after those it depends on.
    std::vector<service_config> services{};
};

// Reads an INI file: comments begin with `;`, a `[supervisor]` block for what concerns all, and one
// block for each service.
// throws std::runtime_error: `FILE:7: [web] grace: "fast" is no duration (500ms, 5s, 2m, 1h)`
[[nodiscard]] config read_config(const std::string& file);
// The same of a text; `file` is for the messages.
[[nodiscard]] config parse_config(const std::string& text, const std::string& file);

}  // namespace supervise

#endif

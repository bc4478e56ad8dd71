// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SERVICE_ACCESS_HPP
#define PROCYARD_RUNTIME_SRC_SERVICE_ACCESS_HPP

#include <signal.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/service.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Where the lines of a service go. By itself, since it outlives the rest of a service that is
// removed, until it has got what waits for it.
struct log_sink {
    service_log plain{};
    service_log_task task{};
    log_options how{};
};

}  // namespace detail

struct service::description {
    struct members {
        restart_strategy strategy;
        restart_intensity intensity;
        std::vector<service> services;
    };
    struct listener {
        std::string name;
        std::shared_ptr<const unique_fd> descriptor;
    };
    struct health_check {
        service_probe ask;
        std::chrono::nanoseconds interval;
        unsigned failures;
        std::chrono::nanoseconds most;
    };

    std::string name;
    std::variant<command, service_body, members> body;
    restart_kind restart = restart_kind::permanent;
    restart_backoff backoff{};
    std::vector<std::string> depends_on{};
    bool one_shot = false;
    readiness ready = readiness::started();
    std::chrono::nanoseconds start_timeout = std::chrono::nanoseconds::max();
    std::chrono::nanoseconds stop_grace = std::chrono::seconds(5);
    std::chrono::nanoseconds most_extension{};
    int stop_signal = SIGTERM;
    std::optional<std::chrono::nanoseconds> watchdog{};
    std::optional<health_check> health{};
    std::shared_ptr<const detail::log_sink> log = std::make_shared<detail::log_sink>();
    std::size_t error_tail = 4096;
    std::vector<listener> listeners{};
    std::size_t most_kept = 0;
};

namespace detail {

// The library's view of what users only describe.
struct service_access {
    using description = service::description;
    using readiness_kind = readiness::kind;

    static const std::shared_ptr<const description>& what(const service& s) noexcept
    {
        return s.what_;
    }
    static readiness_kind kind(const readiness& r) noexcept { return r.kind_; }
    static int descriptor(const readiness& r) noexcept { return r.descriptor_; }
    static const std::string& text(const readiness& r) noexcept { return r.text_; }
    static const service_probe& ask(const readiness& r) noexcept { return r.ask_; }
    static std::chrono::nanoseconds interval(const readiness& r) noexcept { return r.interval_; }
    static std::chrono::nanoseconds most(const readiness& r) noexcept { return r.most_; }
    static service_context context(std::weak_ptr<supervisor_core> core, std::size_t number,
                                   std::uint64_t generation, std::string name,
                                   asio::any_io_executor ex)
    {
        return {std::move(core), number, generation, std::move(name), std::move(ex)};
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

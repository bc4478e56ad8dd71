// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SERVICE_RUNNER_HPP
#define PROCYARD_RUNTIME_SRC_SERVICE_RUNNER_HPP

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "descriptor_store.hpp"
#include "log_feed.hpp"
#include "orphan_burial.hpp"
#include "service_access.hpp"
#include "supervision_turn.hpp"
#include "supervisor_fsm.hpp"
#include "survivor_book.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Who hears what an incarnation does. Never called inside a call of a runner: what a runner has to
// say it posts.
class runner_owner {
public:
    virtual void on_news(const supervisor_input& news) = 0;
    // Once, when nothing of it lives.
    virtual void on_ended(std::size_t number, std::uint64_t generation, bool clean,
                          std::shared_ptr<death_report> report) = 0;
    // Of a group: what one of its members has told, by the name that it has there.
    virtual void on_member(std::size_t number, std::uint64_t generation, service_event event) = 0;
    // Whether it is the incarnation that serves, or the last that did: no successor, and not
    // replaced. May be asked at any time.
    [[nodiscard]] virtual bool serves(std::size_t number,
                                      std::uint64_t generation) const noexcept = 0;
    // The same, as if the owner served, whatever it does.
    [[nodiscard]] virtual bool serves_here(std::size_t number,
                                           std::uint64_t generation) const noexcept = 0;

protected:
    ~runner_owner() = default;
};

struct runner_setup {
    std::weak_ptr<runner_owner> owner;
    asio::any_io_executor executor;
    std::shared_ptr<timer_clock> clock;
    std::shared_ptr<const service_access::description> how;
    std::size_t number;
    std::uint64_t generation;
    std::shared_ptr<log_feed> log;
    std::shared_ptr<descriptor_store> kept;
    orphan_policy orphans;
    // The most that a stop of the supervisor, and of those around it, leaves it; told at its start.
    std::chrono::nanoseconds most_grace;
    // Where what would outlive the supervisor is written down; null: nowhere.
    std::shared_ptr<survivor_book> book;
    std::shared_ptr<orphan_burial> burial;
    // Of a group, for its members.
    std::shared_ptr<supervision_turn> turn;
    std::shared_ptr<service_history> history;
};

// One incarnation of a service, from its start to its end.
class service_runner : public std::enable_shared_from_this<service_runner> {
public:
    explicit service_runner(runner_setup what)
        : setup_(std::move(what)),
          started_(setup_.clock->now())
    {
    }
    service_runner(const service_runner&) = delete;
    service_runner& operator=(const service_runner&) = delete;
    virtual ~service_runner() = default;

    virtual void start() = 0;
    // Ask; once. It is killed at the deadline.
    virtual void stop(timer_clock::time_point deadline) = 0;
    // It was asked, and the deadline is an earlier one now.
    virtual void hurry(timer_clock::time_point) { }
    virtual void kill() = 0;  // once
    // Nobody listens any more: kill, and wait for nothing.
    virtual void abandon() noexcept = 0;

    // Whether it is ready: only then is its health asked for. From the first time on it has to feed
    // its watchdog.
    void serves(bool ready) noexcept;
    // It makes progress.
    virtual void alive();
    [[nodiscard]] virtual pid_t pid() const noexcept { return 0; }
    [[nodiscard]] const std::string& status_text() const noexcept { return status_text_; }
    // Of a group, from its start to its end: who supervises its members.
    [[nodiscard]] virtual supervisor_core* members() const noexcept { return nullptr; }

protected:
    void tell(supervisor_input::kind what, timer_clock::duration extension = {});
    void tell(supervisor_input news);
    void tell_started();
    void tell_end(bool clean, death_report report);

    // Runs a part of the supervision, until it ends or the signal is emitted. One that fails (there
    // is no memory) leaves a service that nobody watches: that is stopped, and started again.
    void supervise(asio::awaitable<void> part, asio::cancellation_signal* end = nullptr);

    // For a service with a watchdog, at its start. It bites no earlier than after serves().
    void start_watchdog();
    // Another time for a watchdog that there is, from now on.
    void set_watchdog(timer_clock::duration most);
    // As if it had gone hungry.
    void trigger_watchdog();
    void start_health();
    void start_probe();
    // No probe and no watchdog any more.
    void end_checks() noexcept;
    // Of the runner, and of a coroutine: in a turn of its own.
    void emit_later(asio::cancellation_signal& signal) noexcept;

    [[nodiscard]] const service_access::description& how() const noexcept { return *setup_.how; }
    [[nodiscard]] bool watchdog_bit() const noexcept { return watchdog_bit_; }

    runner_setup setup_;
    timer_clock::time_point started_;
    std::string status_text_{};
    bool asked_ = false;

private:
    asio::awaitable<void> watch();
    asio::awaitable<void> check_health();
    asio::awaitable<void> probe_until_ready();
    struct question;
    asio::awaitable<bool> ask(const service_probe* probe, std::chrono::nanoseconds most);

    asio::cancellation_signal watch_signal_{};  // of one wait
    asio::cancellation_signal health_signal_{};
    asio::cancellation_signal probe_signal_{};
    timer_clock::time_point fed_{};
    timer_clock::duration most_hunger_{};
    bool watchdog_armed_ = false;
    bool watchdog_bit_ = false;
    bool serves_ = false;
    bool checks_ended_ = false;
    std::shared_ptr<question> asked_last_{};
};

[[nodiscard]] std::shared_ptr<service_runner> make_command_runner(runner_setup what);
[[nodiscard]] std::shared_ptr<service_runner>
make_coroutine_runner(runner_setup what, std::weak_ptr<supervisor_core> core);
[[nodiscard]] std::shared_ptr<service_runner> make_group_runner(runner_setup what);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

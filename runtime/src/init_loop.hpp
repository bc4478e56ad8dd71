// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_INIT_LOOP_HPP
#define PROCYARD_RUNTIME_SRC_INIT_LOOP_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <signal.h>
#include <sys/types.h>

#include <exception>
#include <functional>
#include <optional>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/init.hpp>
#include <procyard/signals/signal_set.hpp>

#include "orphan_reaper.hpp"
#include "terminal_loan.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class child_service;

// Throws what run_as_init does.
[[noreturn]] void refuse_init(const error_code& ec, const char* why);

// SIGCHLD as it has to be for children to be waited for: ignored, the kernel reaps them itself, and
// before 6.15 nobody learns how they have ended.
class awaited_children {
public:
    awaited_children();
    awaited_children(const awaited_children&) = delete;
    awaited_children& operator=(const awaited_children&) = delete;
    ~awaited_children() { (void)::sigaction(SIGCHLD, &before_, nullptr); }

    // Nobody waits for children of this process.
    [[nodiscard]] bool are_nobodys() const noexcept
    {
        return is_ignored_ || (before_.sa_flags & SA_NOCLDWAIT) != 0;
    }

private:
    struct sigaction before_{};
    bool is_ignored_ = false;
};

// The io_context of an init, and all that goes on in it.
class init_loop {
public:
    explicit init_loop(init_options options);

    [[nodiscard]] asio::any_io_executor executor() { return context_.get_executor(); }
    [[nodiscard]] asio::io_context& context() noexcept { return context_; }
    [[nodiscard]] child_service& service() noexcept { return *service_; }

    init_result run(child main);

private:
    // Whatever is thrown, no main child is left without its init.
    void run_to_the_end();

    // The first error is the one that counts.
    void give_up(std::exception_ptr error);

    // One that cannot be signalled, because it has changed its user, is no reason to pass nothing
    // on any more.
    [[nodiscard]] std::function<void(const signal_info&, error_code&)> passing_on();
    void pass_on(int number, error_code& ec);
    void stop_rest();
    bool reap();

    // What is reaped while the rest is stopped may be so by the stop as well, which counts it.
    void on_orphan(pid_t pid, const exit_status& status);
    void look_for_stop();

    // Reaps whom there is, and waits for the next death.
    void look();

    const awaited_children children_{};  // before the set, which restores what it finds
    asio::io_context context_{1};
    init_options options_;
    signal_set forwarded_;
    signal_set deaths_;
    asio::steady_timer retry_;
    child_service* service_ = nullptr;
    orphan_reaper reaper_;
    asio::cancellation_signal stop_forwarding_;
    child main_;
    std::optional<terminal_loan> terminal_{};
    init_result result_;
    std::exception_ptr error_{};
    bool is_stopping_ = false;
    bool over_ = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

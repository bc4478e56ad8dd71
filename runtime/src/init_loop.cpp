// SPDX-License-Identifier: BSL-1.0
#include "init_loop.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/system/system_error.hpp>

#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <new>
#include <string>
#include <utility>

#include <procyard/ipc/syscall.hpp>
#include <procyard/runtime/forward_signals.hpp>

#include "child_service.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void refuse_init(const error_code& ec, const char* why)
{
    throw boost::system::system_error(ec, std::string("run_as_init: ") + why);
}

awaited_children::awaited_children()
{
    (void)::sigaction(SIGCHLD, nullptr, &before_);
    const bool with_info = (before_.sa_flags & SA_SIGINFO) != 0;
    is_ignored_ = !with_info && before_.sa_handler == SIG_IGN;
    auto now = before_;
    now.sa_flags &= ~(SA_NOCLDWAIT | SA_NOCLDSTOP);
    if (is_ignored_)
        now.sa_handler = SIG_DFL;
    (void)::sigaction(SIGCHLD, &now, nullptr);
}

init_loop::init_loop(init_options options)
    : options_(std::move(options)),
      forwarded_(executor()),
      deaths_(executor(), {SIGCHLD}),
      retry_(context_),
      reaper_([this](pid_t pid) { return service_->has_child(pid); },
              [this](pid_t pid, const exit_status& status) { on_orphan(pid, status); })
{
    for (const int number : options_.forwarded)
        forwarded_.add(number);
    service_ = &child_service::of(executor());
    if (!options_.reap_earlier_children && !children_.are_nobodys()
        && !reaper_.leave_earlier_children())
        refuse_init(make_errno(EMFILE), "the children of this process could not be listed");
}

init_result init_loop::run(child main)
{
    main_ = std::move(main);
    terminal_.emplace(main_.id());
    async_forward_signals(
        std::move(forwarded_), passing_on(),
        asio::bind_cancellation_slot(stop_forwarding_.slot(), [](error_code, std::uint64_t) { }));
    main_.async_wait([this](const error_code&, const exit_status& status) {
        result_.status = status;
        terminal_.reset();
        stop_rest();
    });
    look();
    run_to_the_end();
    if (error_)
        std::rethrow_exception(error_);
    return std::move(result_);
}

void init_loop::run_to_the_end()
{
    for (;;) {
        try {
            context_.run();
            return;
        } catch (...) {
            give_up(std::current_exception());
        }
    }
}

void init_loop::give_up(std::exception_ptr error)
{
    if (error_)
        return;
    error_ = std::move(error);
    if (!main_.try_wait())
        main_.async_stop(options_.rest, [](const error_code&, const stop_result&) { });
}

std::function<void(const signal_info&, error_code&)> init_loop::passing_on()
{
    return [this](const signal_info& info, error_code& ec) {
        pass_on(info.number, ec);
        result_.forwarded += ec ? 0 : 1;
        ec.clear();
        // One that is stopped would never hear of its end.
        if (info.number == SIGTERM || info.number == SIGINT || info.number == SIGHUP)
            pass_on(SIGCONT, ec);
        ec.clear();
    };
}

void init_loop::pass_on(int number, error_code& ec)
{
    if (!options_.to_tree && !main_.try_wait())
        return main_.signal(number, ec);
    try {
        main_.signal_tree(number, ec);
    } catch (const std::bad_alloc&) {
        main_.signal(number, ec);
    }
}

void init_loop::stop_rest()
{
    reap();
    main_.async_stop(options_.rest, [this](const error_code&, const stop_result& rest) {
        result_.rest = rest;
        reap();
        stop_forwarding_.emit(asio::cancellation_type::total);
        over_ = true;
        deaths_.cancel();
        retry_.cancel();
    });
    is_stopping_ = true;
}

bool init_loop::reap()
{
    try {
        return reaper_.reap();
    } catch (const std::bad_alloc&) {
        return false;
    }
}

void init_loop::on_orphan(pid_t pid, const exit_status& status)
{
    if (is_stopping_)
        return;
    ++result_.orphans;
    if (!options_.on_orphan || error_)
        return;
    try {
        options_.on_orphan(pid, status);
    } catch (...) {
        give_up(std::current_exception());
    }
}

void init_loop::look_for_stop()
{
    siginfo_t info{};
    if (terminal_ && !main_.try_wait()
        && ::waitid(P_PID, static_cast<id_t>(main_.id()), &info, WSTOPPED | WNOHANG) == 0
        && info.si_pid == main_.id())
        terminal_->on_stop(info.si_status);
}

void init_loop::look()
{
    // Descriptors come back: that is no event that could be waited for.
    constexpr auto soon = std::chrono::milliseconds(20);
    if (over_)
        return;
    look_for_stop();
    if (!reap()) {
        retry_.expires_after(soon);
        retry_.async_wait([this](const error_code&) { look(); });
        return;
    }
    deaths_.async_wait([this](const error_code&, const signal_info&) { look(); });
}

}  // namespace detail

PROCYARD_NAMESPACE_END

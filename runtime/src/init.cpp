// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/init.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/syscall.hpp>
#include <procyard/runtime/spawn.hpp>
#include <procyard/signals/fork_process.hpp>
#include <procyard/signals/signal_mask_guard.hpp>

#include "child_access.hpp"
#include "child_core.hpp"
#include "child_service.hpp"
#include "command_access.hpp"
#include "init_loop.hpp"
#include "manager_text.hpp"
#include "proc_fs.hpp"
#include "proc_text.hpp"
#include "raw_syscall.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

void throw_if(const error_code& ec, const char* what)
{
    if (ec)
        refuse_init(ec, what);
}

void check_process()
{
    if (!proc_is_ours())
        refuse_init(make_errno(ENOENT), "no /proc of this pid namespace");
    std::vector<std::string> threads;
    error_code ec;
    if (!list_directory(AT_FDCWD, "/proc/self/task", threads, true, ec))
        refuse_init(ec, "/proc/self/task");
    if (threads.size() > 1)
        refuse_init(make_errno(EBUSY),
                    "other threads run, whose children would be taken for orphans");
}

void become_subreaper()
{
    if (::getpid() != 1 && ::prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL) == -1)
        refuse_init(last_error(), "PR_SET_CHILD_SUBREAPER");
}

// Whether a variable of a service manager's is for this process.
bool names_us(const char* variable)
{
    const char* const value = std::getenv(variable);
    return value != nullptr && value == std::to_string(::getpid());
}

// Descriptors of socket activation that nobody here has taken.
bool are_given(std::size_t count) noexcept
{
    for (std::size_t i = 0; i < count; ++i) {
        const int flags = ::fcntl(first_activation_descriptor + static_cast<int>(i), F_GETFD);
        if (flags == -1 || (flags & FD_CLOEXEC) != 0)
            return false;
    }
    return true;
}

// What a service manager has said to this process is for the main child, which has another id.
void hand_on(command& main)
{
    // Without one it is for whoever reads it.
    if (names_us(watchdog_pid_variable))
        main.env_remove(watchdog_pid_variable);
    if (!command_access::listen_descriptors(main).empty())
        return;  // it has its own
    const auto names =
        parse_activation(std::getenv(listen_count_variable), std::getenv(listen_pid_variable),
                         std::getenv(listen_names_variable), ::getpid());
    if (!are_given(names.size()))
        return;
    int number = first_activation_descriptor;
    for (const auto& name : names)
        main.listen_descriptor(stdio::borrow(number++), name.empty() ? "unknown" : name);
}

// Of the copy, which is there before its tree is.
class copy_of_us {
public:
    explicit copy_of_us(init_loop& loop)
        : core_(std::make_shared<child_core>(loop.service(), loop.executor()))
    {
        tree_request request;
        request.mode = tree_mode::subreaper;
        request.spoken_for = [&service = loop.service()](pid_t pid) {
            return service.has_child(pid);
        };
        throw_if(core_->tree.prepare(std::move(request)), "tree");
        const char* const inherited = std::getenv(std::string(tree_marker_name).c_str());
        marker_ = core_->tree.marker(inherited == nullptr ? "" : inherited);
        for (const char* name : {listen_pid_variable, watchdog_pid_variable}) {
            if (names_us(name))
                named_.push_back(name);
        }
    }

    // In the copy. What a service manager has said to us is said to it.
    void mark() const
    {
        (void)::setpgid(0, 0);
        const auto set = [](const std::string& name, const std::string& value) {
            if (::setenv(name.c_str(), value.c_str(), 1) != 0)
                throw std::bad_alloc();
        };
        set(std::string(tree_marker_name), marker_);
        for (const char* name : named_)
            set(name, std::to_string(::getpid()));
    }

    // In the original.
    [[nodiscard]] child take(init_loop& loop, pid_t pid)
    {
        (void)::setpgid(pid, pid);  // here as well: who signals the group finds it
        const long pidfd = raw_syscall(SYS_pidfd_open, pid, 0);
        core_->pid = pid;
        core_->pidfd.reset(pidfd < 0 ? -1 : static_cast<int>(pidfd));
        (void)core_->tree.attach(pid, core_->pidfd.get());  // nobody guards it
        core_->program = "a copy of this process";
        core_->info.tree = core_->tree.mechanism();
        core_->info.pidfd = pidfd >= 0;
        core_->info.started = std::chrono::steady_clock::now();
        loop.service().add(core_);
        return child_access::make(std::move(core_));
    }

private:
    std::shared_ptr<child_core> core_;
    std::string marker_;
    std::vector<const char*> named_;  // the variables that name us
};

// fork_process() throws in the copy where that gets no descriptors.
pid_t make_copy(asio::io_context& context)
{
    const pid_t us = ::getpid();
    error_code ec;
    pid_t pid = -1;
    try {
        pid = fork_process(context, ec);
    } catch (...) {
        if (::getpid() != us)
            std::terminate();
        throw;
    }
    throw_if(ec, "fork");
    return pid;
}

// In the copy, from here on to its end: what is thrown must not come to who has called us, whose
// catch would go on as if it were the original.
void begin_copy(std::unique_ptr<copy_of_us>& copy, std::unique_ptr<init_loop>& loop) noexcept
{
    copy->mark();
    copy.reset();
    loop.reset();
}

[[noreturn]] void run_main(const std::function<asio::awaitable<int>()>& main) noexcept
{
    int code = EXIT_FAILURE;
    {
        asio::io_context context(1);
        asio::co_spawn(context, main(), [&](const std::exception_ptr& error, int returned) {
            if (error)
                std::rethrow_exception(error);
            code = returned;
            context.stop();
        });
        context.run();
    }
    std::exit(code);
}

}  // namespace

}  // namespace detail

std::vector<int> init_options::forwardable()
{
    std::vector<int> numbers{SIGHUP,  SIGINT,  SIGQUIT,  SIGUSR1, SIGUSR2,
                             SIGTERM, SIGCONT, SIGWINCH, SIGPWR};
    for (int number = SIGRTMIN; number <= SIGRTMAX; ++number)
        numbers.push_back(number);
    return numbers;
}

init_result run_as_init(command main, init_options options)
{
    using namespace detail;
    check_process();
    become_subreaper();
    // Whatever a descendant does, it comes back to us when it is an orphan.
    if (command_access::tree(main) == tree_mode::automatic)
        main.tree(tree_mode::subreaper);
    hand_on(main);
    init_loop loop(std::move(options));
    return loop.run(spawn(main, loop.executor()));
}

init_result run_as_init(const std::function<asio::awaitable<int>()>& main, init_options options)
{
    using namespace detail;
    check_process();
    become_subreaper();
    // What the C library has not written yet would be written twice.
    (void)std::fflush(nullptr);
    auto loop = std::make_unique<init_loop>(std::move(options));
    auto copy = std::make_unique<copy_of_us>(*loop);
    pid_t pid = -1;
    {
        // A signal that is sent to the copy before it is itself waits until then: the sets it has
        // inherited would take it with them.
        const auto quiet = signal_mask_guard::all();
        pid = make_copy(loop->context());
        if (pid == 0)
            begin_copy(copy, loop);
    }
    if (pid == 0)
        run_main(main);
    return loop->run(copy->take(*loop, pid));
}

PROCYARD_NAMESPACE_END

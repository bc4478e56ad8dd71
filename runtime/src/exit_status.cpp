// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/exit_status.hpp>

#include <signal.h>
#include <sys/wait.h>

#include <iterator>
#include <ostream>

PROCYARD_NAMESPACE_BEGIN

namespace {

struct named_signal {
    int number;
    const char* name;
};

// Not sigabbrev_np(): glibc has it only since 2.32 and musl not at all.
constexpr named_signal named_signals[] = {
    {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},       {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
    {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"},     {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
    {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"},     {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
    {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"},     {SIGTERM, "SIGTERM"}, {SIGSTKFLT, "SIGSTKFLT"},
    {SIGCHLD, "SIGCHLD"}, {SIGCONT, "SIGCONT"},     {SIGSTOP, "SIGSTOP"}, {SIGTSTP, "SIGTSTP"},
    {SIGTTIN, "SIGTTIN"}, {SIGTTOU, "SIGTTOU"},     {SIGURG, "SIGURG"},   {SIGXCPU, "SIGXCPU"},
    {SIGXFSZ, "SIGXFSZ"}, {SIGVTALRM, "SIGVTALRM"}, {SIGPROF, "SIGPROF"}, {SIGWINCH, "SIGWINCH"},
    {SIGIO, "SIGIO"},     {SIGPWR, "SIGPWR"},       {SIGSYS, "SIGSYS"},
};

}  // namespace

std::string signal_name(int signal_number)
{
    for (const auto& entry : named_signals) {
        if (entry.number == signal_number)
            return entry.name;
    }
    if (signal_number >= SIGRTMIN && signal_number <= SIGRTMAX)
        return "SIGRTMIN+" + std::to_string(signal_number - SIGRTMIN);
    return "signal " + std::to_string(signal_number);
}

exit_status exit_status::exited(int code) noexcept
{
    exit_status status;
    status.kind_ = kind::exited;
    status.value_ = code & 0xff;  // the kernel keeps eight bits; so do we, lest 256 look
                                  // different here and in the shell
    return status;
}

exit_status exit_status::signaled(int signal_number, bool core_dumped, bool out_of_memory) noexcept
{
    exit_status status;
    status.kind_ = kind::signaled;
    status.value_ = signal_number;
    status.core_dumped_ = core_dumped;
    status.out_of_memory_ = out_of_memory;
    return status;
}

exit_status exit_status::from_wait_status(int status) noexcept
{
    if (WIFEXITED(status))
        return exited(WEXITSTATUS(status));
    PROCYARD_ASSERT(WIFSIGNALED(status)
                    && "a stopped or continued child has not ended: it has no exit status");
    return signaled(WTERMSIG(status), WCOREDUMP(status));
}

exit_status exit_status::with_usage(const resource_usage& usage) const noexcept
{
    auto copy = *this;
    copy.usage_ = usage;
    return copy;
}

exit_status exit_status::with_out_of_memory() const noexcept
{
    auto copy = *this;
    copy.out_of_memory_ = true;
    return copy;
}

std::optional<int> exit_status::code() const noexcept
{
    return is_exited() ? std::optional<int>(value_) : std::nullopt;
}

std::optional<int> exit_status::signal() const noexcept
{
    return is_signaled() ? std::optional<int>(value_) : std::nullopt;
}

int exit_status::shell_code() const noexcept
{
    switch (kind_) {
    case kind::exited: return value_;
    case kind::signaled: return 128 + value_;
    case kind::unknown: return 255;
    }
    return 255;
}

std::string exit_status::to_string() const
{
    switch (kind_) {
    case kind::unknown: return "unknown exit status";
    case kind::exited: return "exit " + std::to_string(value_);
    case kind::signaled: break;
    }
    std::string text = "killed by " + signal_name(value_);
    if (out_of_memory_)
        text += " (out of memory)";
    else if (core_dumped_)
        text += " (core dumped)";
    return text;
}

std::ostream& operator<<(std::ostream& out, const exit_status& status)
{
    return out << status.to_string();
}

PROCYARD_NAMESPACE_END

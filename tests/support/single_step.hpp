// SPDX-License-Identifier: BSL-1.0
// A copy of this process that goes on by one machine instruction at a time, so that it can be
// killed between any two.
#ifndef PROCYARD_TESTS_SUPPORT_SINGLE_STEP_HPP
#define PROCYARD_TESTS_SUPPORT_SINGLE_STEP_HPP

#include <elf.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>

#include <doctest/doctest.h>

#include <procyard/ipc/syscall.hpp>

#include "forked.hpp"

namespace procyard_test {

/// What the copy says of itself, in memory that both see.
struct step_marks {
    std::atomic<int> started{0};   ///< the operation is under way, and waits
    std::atomic<int> finished{0};  ///< it is over
    std::atomic<int> let_go{0};    ///< nobody waits for a stop any more
};

/// Stops the copy until its parent wants it to go on.
inline void stop_here()
{
    ::raise(SIGSTOP);
}

/// The copy has done what it was to be stepped through. What its body returns.
inline int finish_here(step_marks& marks)
{
    marks.finished.store(1);
    stop_here();
    return 0;
}

/// This thread, and the copies that are made meanwhile, stay on its processor: two that wait for
/// each other at each step take half of the time there, since none has to be woken elsewhere. What
/// the library asks for is how many processors there are, not where it may run.
class one_processor {
public:
    one_processor()
    {
        const int here = ::sched_getcpu();
        cpu_set_t only;
        CPU_ZERO(&only);
        if (here >= 0 && here < CPU_SETSIZE)
            CPU_SET(static_cast<std::size_t>(here), &only);
        is_bound_ = ::sched_getaffinity(0, sizeof before_, &before_) == 0
            && ::sched_setaffinity(0, sizeof only, &only) == 0;
    }
    one_processor(const one_processor&) = delete;
    one_processor& operator=(const one_processor&) = delete;
    ~one_processor()
    {
        if (is_bound_)
            (void)::sched_setaffinity(0, sizeof before_, &before_);
    }

private:
    cpu_set_t before_{};
    bool is_bound_ = false;
};

class single_stepped {
public:
    /// `body(step_marks&)` runs in the copy, until its first stop_here() at full speed.
    template <class Body>
    explicit single_stepped(Body body)
        : marks_(make_marks()),
          copy_([this, &body] {
              ::alarm(0);  // a walk takes as long as it takes; see reach_stop
              if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == -1)
                  return errno == 0 ? 1 : errno;
              return body(*marks_);
          })
    {
    }
    single_stepped(const single_stepped&) = delete;
    single_stepped& operator=(const single_stepped&) = delete;
    ~single_stepped() { ::munmap(marks_, sizeof(step_marks)); }

    /// Waits for the first stop_here(). False: nobody may be traced here, and the copy has ended.
    [[nodiscard]] bool reach_stop()
    {
        if (wait_for_stop() != SIGSTOP)
            return false;
        // It does not outlive us.
        demand(::ptrace(PTRACE_SETOPTIONS, copy_.pid(), nullptr, PTRACE_O_EXITKILL) == 0);
        return true;
    }
    /// On at full speed, to the next stop_here().
    void go_on_to_stop()
    {
        REQUIRE(::ptrace(PTRACE_CONT, copy_.pid(), nullptr, nullptr) == 0);
        REQUIRE(wait_for_stop() == SIGSTOP);
    }
    /// One instruction; a system call counts as one.
    void step()
    {
        demand(::ptrace(PTRACE_SINGLESTEP, copy_.pid(), nullptr, nullptr) == 0);
        const int signal = wait_for_stop();
        if (signal != SIGTRAP)
            FAIL("stopped by signal " << signal);
    }
    /// Whether the one at this address is one step for each of its repetitions: see step_past.
    [[nodiscard]] bool repeats([[maybe_unused]] std::uintptr_t instruction) const
    {
#if defined(__x86_64__)
        return repeating_length(instruction) != 0;
#else
        return false;
#endif
    }
    /// All repetitions of one that repeats, at full speed. How many steps that were.
    std::size_t step_past()
    {
#if defined(__x86_64__)
        return go_past(registers(), SIZE_MAX);
#else
        step();
        return 1;
#endif
    }
    /// On at full speed, until it enters a system call or leaves it. False: it has come to a
    /// stop_here() before.
    bool run_to_system_call()
    {
        REQUIRE(::ptrace(PTRACE_SYSCALL, copy_.pid(), nullptr, nullptr) == 0);
        const int signal = wait_for_stop();
        REQUIRE_MESSAGE((signal == SIGTRAP || signal == SIGSTOP), "stopped by signal " << signal);
        return signal == SIGTRAP;
    }
    /// The address of its next instruction; 0 where this is not known.
    [[nodiscard]] std::uintptr_t instruction() const
    {
#if defined(__x86_64__)
        return registers().rip;
#else
        return 0;
#endif
    }
    /// Whether the one at this address is a system call.
    [[nodiscard]] bool is_system_call(std::uintptr_t instruction) const
    {
        return instruction != 0 && (text_at(instruction) & 0xffff) == 0x050f;
    }
    /// On at full speed, until the instruction at this address is the next one for the `hits`-th
    /// time, counted from 0. False: it has come to a stop_here() before.
    bool run_to([[maybe_unused]] std::uintptr_t address, [[maybe_unused]] std::size_t hits)
    {
#if defined(__x86_64__)
        const auto text = text_at(address);
        const auto trap = (text & ~0xffL) | 0xcc;
        for (;;) {
            set_text(address, trap);
            REQUIRE(::ptrace(PTRACE_CONT, copy_.pid(), nullptr, nullptr) == 0);
            const int signal = wait_for_stop();
            set_text(address, text);  // also of one that has missed it, and may come by later
            if (signal == SIGSTOP)
                return false;
            REQUIRE_MESSAGE(signal == SIGTRAP, "stopped by signal " << signal);
            auto now = registers();
            REQUIRE(now.rip == address + 1);
            now.rip = address;
            set_registers(now);
            if (hits == 0)
                return true;
            hits -= go_past(now, hits);
        }
#else
        return false;
#endif
    }
    /// On at full speed, and not stopped any more. Its exit code, as forked::result().
    int let_go()
    {
        marks_->let_go.store(1);
        REQUIRE(::ptrace(PTRACE_DETACH, copy_.pid(), nullptr, nullptr) == 0);
        return copy_.result();
    }
    void kill_hard() { copy_.kill_hard(); }
    [[nodiscard]] const step_marks& marks() const noexcept { return *marks_; }

private:
    // REQUIRE takes as long as a step.
    static void demand(bool holds)
    {
        if (!holds)
            FAIL("ptrace: " << errno);
    }
    static step_marks* make_marks()
    {
        void* const room = ::mmap(nullptr, sizeof(step_marks), PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(room != MAP_FAILED);
        return new (room) step_marks;
    }

#if defined(__x86_64__)
    [[nodiscard]] user_regs_struct registers() const
    {
        user_regs_struct found{};
        iovec room{&found, sizeof found};
        demand(::ptrace(PTRACE_GETREGSET, copy_.pid(), NT_PRSTATUS, &room) == 0);
        return found;
    }
    void set_registers(user_regs_struct wanted)
    {
        iovec room{&wanted, sizeof wanted};
        REQUIRE(::ptrace(PTRACE_SETREGSET, copy_.pid(), NT_PRSTATUS, &room) == 0);
    }
    /// How long a `rep stos` or `rep movs` is that lies there; 0: it is something else.
    [[nodiscard]] std::size_t repeating_length(std::uintptr_t instruction) const
    {
        auto text = static_cast<std::uint64_t>(text_at(instruction));
        if ((text & 0xff) != 0xf3)
            return 0;
        std::size_t length = 2;
        text >>= 8;
        if ((text & 0xff) == 0x48) {
            ++length;
            text >>= 8;
        }
        const auto code = text & 0xfe;  // of bytes, or of words
        return code == 0xaa || code == 0xa4 ? length : 0;
    }
    /// Past its next instruction. One that repeats is as many steps, and goes on at full speed for
    /// at most so many of them: a sanitizer fills some 100,000 bytes by one, which would be as many
    /// stops for each point behind it. How many steps that were.
    std::size_t go_past(user_regs_struct now, std::size_t at_most)
    {
        const auto length = repeating_length(now.rip);
        if (length == 0 || now.rcx < 2) {
            step();
            return 1;
        }
        const auto left = now.rcx;
        const auto times = std::min<std::size_t>(left, at_most);
        now.rcx = times;
        set_registers(now);
        REQUIRE(run_to(now.rip + length, 0));
        if (times == left)
            return times;
        auto then = registers();  // as it is after so many: its pointers have gone on
        then.rip = now.rip;
        then.rcx = left - times;
        set_registers(then);
        return times;
    }
#endif
    [[nodiscard]] long text_at(std::uintptr_t address) const
    {
        return ::ptrace(PTRACE_PEEKTEXT, copy_.pid(), address, nullptr);
    }
    void set_text(std::uintptr_t address, long text)
    {
        REQUIRE(::ptrace(PTRACE_POKETEXT, copy_.pid(), address, text) == 0);
    }

    /// The signal that has stopped it; 0: it has ended.
    int wait_for_stop()
    {
        int status = 0;
        const auto waited =
            procyard::retry_eintr([&] { return ::waitpid(copy_.pid(), &status, __WALL); });
        demand(waited == copy_.pid());
        if (WIFSTOPPED(status))
            return WSTOPSIG(status);
        copy_.has_been_reaped();
        return 0;
    }

    one_processor here_;
    step_marks* marks_;
    forked copy_;
};

}  // namespace procyard_test

#endif

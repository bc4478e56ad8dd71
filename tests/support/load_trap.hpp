// SPDX-License-Identifier: BSL-1.0
// Changes memory between two loads, as a writer in another process could, but at a chosen one.
#ifndef PROCYARD_TESTS_SUPPORT_LOAD_TRAP_HPP
#define PROCYARD_TESTS_SUPPORT_LOAD_TRAP_HPP

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <doctest/doctest.h>

namespace procyard_test {

/// Pages that this process may read, and no system call does meanwhile. Each machine instruction
/// that loads from them is stopped at, done alone, and counted.
///
/// The pages cannot be read but for that one instruction: it faults, is let through with the trap
/// flag of the processor set, and after it they are closed again.
/// @par Thread safety   One at a time, in a process of one thread.
class load_trap {
public:
#if defined(__x86_64__)
    static constexpr bool is_possible = true;
#else
    static constexpr bool is_possible = false;
#endif
    static constexpr std::size_t never = ~std::size_t{0};

    /// After `when` loads, this word becomes that. 0: before the first.
    struct change {
        std::size_t when = never;
        void* word = nullptr;
        std::uint64_t value = 0;
    };

    /// Runs `body` with all loads from `bytes` bytes at `begin` counted, and `what` done between.
    template <class Body>
    [[nodiscard]] static std::size_t count_loads(void* begin, std::size_t bytes, const change& what,
                                                 Body body)
    {
        load_trap trap(begin, bytes, what);
        if (what.when == 0)
            trap.make_change();
        trap.protect(PROT_NONE);
        body();
        trap.protect(PROT_READ);
        return trap.loads_;
    }

    load_trap(const load_trap&) = delete;
    load_trap& operator=(const load_trap&) = delete;

private:
    load_trap(void* begin, std::size_t bytes, const change& what)
        : begin_(begin),
          bytes_(bytes),
          what_(what)
    {
        REQUIRE(std::exchange(current, this) == nullptr);
        struct sigaction action{};
        action.sa_flags = SA_SIGINFO;
        action.sa_sigaction = &on_fault;
        REQUIRE(::sigaction(SIGSEGV, &action, &fault_before_) == 0);
        action.sa_sigaction = &on_step;
        REQUIRE(::sigaction(SIGTRAP, &action, &step_before_) == 0);
    }
    ~load_trap()
    {
        protect(PROT_READ);
        ::sigaction(SIGSEGV, &fault_before_, nullptr);
        ::sigaction(SIGTRAP, &step_before_, nullptr);
        current = nullptr;
    }

    void protect(int protection) const { (void)::mprotect(begin_, bytes_, protection); }
    void make_change() const { std::memcpy(what_.word, &what_.value, sizeof what_.value); }

    static void set_trap_flag([[maybe_unused]] void* context, [[maybe_unused]] bool on)
    {
#if defined(__x86_64__)
        constexpr greg_t flag = 0x100;
        auto& flags = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL];
        flags = on ? flags | flag : flags & ~flag;
#endif
    }
    static void on_fault(int, siginfo_t* info, void* context)
    {
        const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
        const auto begin = reinterpret_cast<std::uintptr_t>(current->begin_);
        if (at - begin >= current->bytes_) {
            ::signal(SIGSEGV, SIG_DFL);  // a fault of somebody else's: it comes again, and kills
            return;
        }
        current->protect(PROT_READ);
        set_trap_flag(context, true);
    }
    static void on_step(int, siginfo_t*, void* context)
    {
        set_trap_flag(context, false);
        if (++current->loads_ == current->what_.when)
            current->make_change();
        current->protect(PROT_NONE);
    }

    static inline load_trap* current = nullptr;

    void* begin_;
    std::size_t bytes_;
    change what_;
    std::size_t loads_ = 0;
    struct sigaction fault_before_{};
    struct sigaction step_before_{};
};

}  // namespace procyard_test

#endif

// SPDX-License-Identifier: BSL-1.0
//
// What a guardian does in its own process.
#include <procyard/runtime/guardian.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/ipc/syscall.hpp>

#include "cgroup_leaf.hpp"
#include "guardian_book.hpp"
#include "guardian_core.hpp"
#include "held_process.hpp"
#include "survivor_sweep.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr int usage_failure = 64;  // as sysexits.h has it
// Between two looks: nothing tells of the ends of those who were killed, nor of a host without a
// pidfd.
constexpr int first_pause_ms = 1;
constexpr int most_pause_ms = 500;
constexpr int look_pause_ms = 20;

struct charge {
    pid_t host = 0;
    std::string mark{};
};

std::optional<charge> parse_charge(std::string_view text)
{
    charge all;
    const auto* const end = text.data() + text.size();
    const auto [after, error] = std::from_chars(text.data(), end, all.host);
    if (error != std::errc() || all.host <= 0 || after == end || *after != ' ' || after + 1 == end)
        return std::nullopt;
    all.mark.assign(after + 1, end);
    return all;
}

void say(std::string_view what)
{
    // To nobody, if the process that we guard has gone meanwhile.
    (void)retry_eintr([&] { return ::write(guardian_word_number, what.data(), what.size()); });
}

void pause(int ms)
{
    (void)::poll(nullptr, 0, ms);
}

// Not to be asked from a thread of its own, and not of its parent's death signal: that comes with
// the end of the thread that has started us.
void wait_for_end(const charge& all)
{
    const auto host = held_process::hold(all.host);
    // Asked when it is held: else the number may be another's already.
    if (!host || ::getppid() != all.host)
        return;
    for (;;) {
        pollfd ended{host->descriptor(), POLLIN, 0};
        if (ended.fd >= 0)
            (void)::poll(&ended, 1, -1);
        else
            pause(look_pause_ms);
        if (!host->alive())
            return;
    }
}

// A cgroup that the book names, if it is that one.
cgroup_leaf leaf_of(const guarded_child& one)
{
    const std::string path(one.leaf_path());
    if (path.empty())
        return {};
    unique_fd directory(retry_eintr(
        [&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }));
    struct stat info{};
    if (!directory || ::fstat(directory.get(), &info) == -1)
        return {};
    auto name = path.substr(path.rfind('/') + 1);
    if (one.leaf_inode != 0) {
        if (static_cast<std::uint64_t>(info.st_ino) != one.leaf_inode)
            return {};
        return cgroup_leaf::adopt(std::move(directory), std::move(name));
    }
    // Its maker was killed before anybody could be in it. Another process of the same number may
    // have made it: then it is locked, or has members.
    if (retry_eintr([&] { return ::flock(directory.get(), LOCK_EX | LOCK_NB); }) == 0)
        (void)cgroup_leaf::adopt(std::move(directory), std::move(name)).remove();
    return {};
}

survivor_sweep sweep_of(const charge& all)
{
    std::vector<survivor_record> records;
    std::vector<cgroup_leaf> leaves;
    for (const auto& one : guardian_book::read(guardian_book_number)) {
        if (auto leaf = leaf_of(one))
            leaves.push_back(std::move(leaf));
        if (one.pid == 0)
            continue;
        auto& record = records.emplace_back();
        record.pid = one.pid;
        record.start_ticks = one.start_ticks;
        record.leads_group = one.leads_group;
        record.leads_session = one.leads_session;
    }
    survivor_sweep sweep(all.mark, records);
    for (auto& leaf : leaves)
        sweep.take(std::move(leaf));
    return sweep;
}

// Until nobody is left. Who may not be killed (a set-user-id program, if we are not root) is waited
// for: its cgroup is still ours to remove.
void clear_away(const charge& all)
{
    std::optional<survivor_sweep> sweep;
    for (int ms = first_pause_ms;; ms = std::min(2 * ms, most_pause_ms)) {
        try {
            if (!sweep)
                sweep.emplace(sweep_of(all));
            if (!sweep->pass())
                return;
        } catch (const std::bad_alloc&) {
            // The machine has none just now: those that are killed give theirs back.
            pause(most_pause_ms);
        }
        pause(ms);
    }
}

// Nobody ends it but by SIGKILL: who stops a service by a signal to all of its processes would else
// find it without a guardian in the moment for which it has one.
void heed_no_signal()
{
    sigset_t all;
    ::sigfillset(&all);
    (void)::sigprocmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

}  // namespace detail

std::optional<int> run_if_guardian()
{
    const std::string variable(detail::guardian_variable);
    const char* const value = std::getenv(variable.c_str());
    if (value == nullptr)
        return std::nullopt;
    const auto all = detail::parse_charge(value);
    (void)::unsetenv(variable.c_str());
    const bool has_both = ::fcntl(detail::guardian_book_number, F_GETFD) != -1
        && ::fcntl(detail::guardian_word_number, F_GETFD) != -1;
    if (!all || !has_both) {
        if (has_both)
            detail::say(variable + " does not say whom to guard\n");
        return detail::usage_failure;
    }
    detail::heed_no_signal();
    (void)::prctl(PR_SET_NAME, "guardian", 0UL, 0UL, 0UL);
    detail::say(detail::guardian_is_there);
    (void)::close(detail::guardian_word_number);
    detail::wait_for_end(*all);
    detail::clear_away(*all);
    return 0;
}

PROCYARD_NAMESPACE_END

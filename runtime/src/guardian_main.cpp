// SPDX-License-Identifier: BSL-1.0
//
// What a guardian does in its own process.
#include <procyard/runtime/guardian.hpp>

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
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
#include "proc_fs.hpp"
#include "proc_text.hpp"
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

// An inner guardian that has not done its work by then is taken for one that cannot.
constexpr std::chrono::seconds most_inner_time{10};
// How often a cgroup is looked at that somebody has locked: a copy of the host does so between a
// fork and an exec.
constexpr int most_locked_looks = 8;
// As a guardian has nothing else to do.
constexpr look_limits patient{.at_once = 16, .in_all = 256};

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

// What keeps us from it; empty: nothing. Who listens at the pipe is not dead: else that we are not
// its child means that it has gone already, and there is something to do.
std::string_view obstacle(const charge& all)
{
    if (!proc_is_ours())
        return "there is no /proc of its pid namespace\n";
    const auto parent = ::getppid();
    pollfd word{guardian_word_number, 0, 0};
    const bool is_heard = ::poll(&word, 1, 0) == 0;
    const bool is_there = ::kill(all.host, 0) == 0 || errno == EPERM;
    if (parent == 0 || (parent != all.host && is_heard && is_there))
        return "it is not a child of the process that it shall guard\n";
    return {};
}

// By the number of our parent, which the kernel changes when that has ended. The pidfd is there to
// be woken, and cannot always be had: of process 1, without a descriptor, behind a filter.
// Rejected: to take a host that cannot be held for a dead one, which kills all that a living one
// has; a thread of its own; and the parent's death signal, which comes with the end of the thread
// that has started us.
void wait_for_end(const charge& all)
{
    const auto host = held_process::hold(all.host);
    const int pidfd = host ? host->descriptor() : -1;
    // With process 1 all others of its namespace end.
    const bool is_woken = pidfd >= 0 || all.host == 1;
    while (::getppid() == all.host) {
        pollfd ended{pidfd, POLLIN, 0};
        (void)::poll(&ended, 1, is_woken ? -1 : look_pause_ms);
    }
}

// The cgroups that the book names. They are opened one after the other, at each look: there may be
// more of them than we may have descriptors.
class named_leaves {
public:
    void add(const guarded_child& one)
    {
        if (!one.leaf_path().empty())
            all_.push_back({std::string(one.leaf_path()), one.leaf_inode, 0});
    }

    // Kills who is in them, and removes those that are empty. False when there is none any more.
    bool pass()
    {
        std::erase_if(all_, [](named_leaf& one) { return !stays(one); });
        return !all_.empty();
    }

private:
    struct named_leaf {
        std::string path{};
        std::uint64_t inode = 0;
        int locked_looks = 0;
    };

    // Whatever the book says: nothing else is written to, or removed.
    static bool is_leaf(int directory, const std::string& name)
    {
        struct statfs where{};
        return is_leaf_name(name) && retry_eintr([&] { return ::fstatfs(directory, &where); }) == 0
            && where.f_type == CGROUP2_SUPER_MAGIC;
    }

    static bool stays(named_leaf& one)
    {
        unique_fd directory(retry_eintr([&] {
            return ::open(one.path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }));
        if (!directory)
            return is_shortage(last_error());
        struct stat info{};
        auto name = one.path.substr(one.path.rfind('/') + 1);
        if (::fstat(directory.get(), &info) == -1 || !is_leaf(directory.get(), name))
            return false;
        const bool is_known = one.inode != 0;
        if (is_known && static_cast<std::uint64_t>(info.st_ino) != one.inode)
            return false;
        // Else its maker was killed before anybody could be in it. Another process of the same
        // number may have made it: then it is locked, or has members.
        if (!is_known
            && retry_eintr([&] { return ::flock(directory.get(), LOCK_EX | LOCK_NB); }) == -1)
            return ++one.locked_looks < most_locked_looks;
        auto leaf = cgroup_leaf::adopt(std::move(directory), std::move(name));
        if (is_known)
            (void)leaf.kill();
        const auto ec = leaf.remove();
        return is_shortage(ec) || (is_known && ec == make_errno(EBUSY));
    }

    std::vector<named_leaf> all_{};
};

// A child in the middle of its birth has written its number, and nobody its start time. It has that
// number since before our host died: who has begun later is another.
bool complete_birth(guarded_child& one, std::uint64_t end_ticks)
{
    if (one.start_ticks != 0)
        return true;
    const auto now = read_stat(one.pid);
    if (!now || now->start_ticks > end_ticks)
        return false;
    one.start_ticks = now->start_ticks;
    return true;
}

std::uint64_t ticks_now()
{
    timespec now{};
    (void)::clock_gettime(CLOCK_BOOTTIME, &now);
    const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
    return static_cast<std::uint64_t>(now.tv_sec) * per_second
        + static_cast<std::uint64_t>(now.tv_nsec) * per_second / 1'000'000'000;
}

// What is there to do, as the book has it. Made anew until there is memory for all of it.
struct clearance {
    clearance(const charge& all, std::uint64_t end_ticks)
        : clearance(all.mark, guardian_book::read(guardian_book_number), end_ticks)
    {
    }

    clearance(const std::string& mark, std::vector<guarded_child> children, std::uint64_t end_ticks)
        : sweep(mark, records_of(children, end_ticks), patient)
    {
        for (const auto& one : children)
            leaves.add(one);
    }

    // False when nobody is left, and nobody can be.
    bool pass()
    {
        const bool somebody = sweep.pass();
        return leaves.pass() || somebody;
    }

    static std::vector<survivor_record> records_of(std::vector<guarded_child>& children,
                                                   std::uint64_t end_ticks)
    {
        std::vector<survivor_record> records;
        for (auto& one : children) {
            if (one.pid == 0 || !complete_birth(one, end_ticks))
                continue;
            auto& record = records.emplace_back();
            record.pid = one.pid;
            record.start_ticks = one.start_ticks;
            record.leads_group = one.leads_group;
            record.leads_session = one.leads_session;
            record.session = one.session;
        }
        return records;
    }

    survivor_sweep sweep;
    named_leaves leaves{};
};

// Of a host that we guard, and that has a guardian itself, the latter knows what we do not:
// commands without our mark. So the host is killed alone, and its guardian waited for, a while.
// Rejected: to kill both at once, as any other two; what the inner one has not come to then lives
// on.
class inner_guardians {
public:
    explicit inner_guardians(std::string mark) : mark_(std::move(mark)) { }

    // False when there is none any more, or none that ends.
    bool pass()
    {
        std::vector<pid_t> pids;
        error_code ec;
        bool is_there = !list_processes(pids, ec) && is_shortage(ec);
        for (const auto pid : pids)
            is_there = (pid != ::getpid() && attend(pid)) || is_there;
        return is_there && std::chrono::steady_clock::now() < until_;
    }

private:
    [[nodiscard]] bool attend(pid_t pid) const
    {
        std::string environment(1, '\0');
        error_code ec;
        if (!read_file(AT_FDCWD, ("/proc/" + std::to_string(pid) + "/environ").c_str(), environment,
                       ec, most_environment))
            return is_shortage(ec);
        const auto record = read_stat(pid);
        if (environment.find(variable_) == std::string::npos || !record || is_dead(*record)
            || !has_tree_marker(std::string_view(environment).substr(1), mark_))
            return false;
        const auto host = held_process::hold(record->parent);
        if (host && look_for_marker(host->pid(), mark_) == tree_marking::present)
            (void)host->signal(SIGKILL);
        return true;
    }

    static constexpr std::size_t most_environment = 8 << 20;

    const std::string mark_;
    const std::string variable_ = std::string(1, '\0') + std::string(guardian_variable) + '=';
    const std::chrono::steady_clock::time_point until_ =
        std::chrono::steady_clock::now() + most_inner_time;
};

// Until nobody is left. Who may not be killed (a set-user-id program, if we are not root) is waited
// for: its cgroup is still ours to remove.
void clear_away(const charge& all)
{
    const auto end_ticks = ticks_now();
    std::optional<inner_guardians> inner;
    bool has_inner = true;
    std::optional<clearance> todo;
    for (int ms = first_pause_ms;; ms = std::min(2 * ms, most_pause_ms)) {
        try {
            if (!inner)
                inner.emplace(all.mark);
            has_inner = has_inner && inner->pass();
            if (!has_inner && !todo) {
                todo.emplace(all, end_ticks);
                ms = first_pause_ms;
            }
            if (!has_inner && !todo->pass())
                return;
        } catch (const std::bad_alloc&) {
            // The machine has none just now: those that are killed give theirs back.
            pause(most_pause_ms);
        }
        pause(ms);
    }
}

// Its host's limit may be one for few descriptors; to look at processes takes some of its own.
void take_all_descriptors()
{
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == -1)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
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
    // Not what whoever starts a set-user-id program has put there: it says who is to be killed.
    const char* const value = ::secure_getenv(variable.c_str());
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
    if (const auto what = detail::obstacle(*all); !what.empty()) {
        detail::say(what);
        return detail::usage_failure;
    }
    detail::take_all_descriptors();
    (void)::prctl(PR_SET_NAME, "guardian", 0UL, 0UL, 0UL);
    detail::say(detail::guardian_is_there);
    (void)::close(detail::guardian_word_number);
    detail::wait_for_end(*all);
    detail::clear_away(*all);
    return 0;
}

PROCYARD_NAMESPACE_END

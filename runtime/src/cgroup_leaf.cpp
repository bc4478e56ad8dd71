// SPDX-License-Identifier: BSL-1.0
#include "cgroup_leaf.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include <procyard/ipc/syscall.hpp>

#include "guarded_entry.hpp"
#include "held_process.hpp"
#include "kernel_features.hpp"
#include "proc_fs.hpp"
#include "proc_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// Leaves of killed makers are looked for at the first leaf of a process in each place and then now
// and then: a look reads the whole parent directory.
constexpr std::uint64_t leaves_per_look = 1024;
// Names are lost to a stranger's leaf, or to one that is being cleared away.
constexpr int most_names = 16;
// Processes held at a time while they are signalled.
constexpr std::size_t batch = 64;
// Rounds over members that keep forking while they are signalled. In a frozen cgroup it takes two.
constexpr int most_rounds = 64;

// Places that are remembered to have been looked at.
constexpr std::size_t known_places = 64;

bool has_gone(const error_code& ec)
{
    return ec == make_errno(ENOENT) || ec == make_errno(ENODEV);
}

unique_fd open_directory(int parent, const char* name)
{
    return unique_fd(retry_eintr(
        [&] { return ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }));
}

bool lock(const unique_fd& directory)
{
    return retry_eintr([&] { return ::flock(directory.get(), LOCK_EX | LOCK_NB); }) == 0;
}

/// Whether nothing is known of a look at this directory. No lock, and no memory: of two places that
/// fall together one is looked at too often.
bool is_new_place(int parent)
{
    static std::array<std::atomic<std::uint64_t>, known_places> known{};
    struct stat info{};
    if (::fstat(parent, &info) == -1)
        return true;
    constexpr std::uint64_t golden_ratio = 0x9e3779b97f4a7c15;
    const auto place = static_cast<std::uint64_t>(info.st_ino)
        ^ (static_cast<std::uint64_t>(info.st_dev) * golden_ratio);
    // Relaxed: it orders nothing; who looks twice finds nothing the second time.
    return known[place % known_places].exchange(place, std::memory_order_relaxed) != place;
}

/// Makes one leaf of this name; an empty result with ec = EEXIST means: try another name.
unique_fd make_leaf(int parent, const std::string& name, error_code& ec)
{
    if (::mkdirat(parent, name.c_str(), 0755) == -1) {
        ec = last_error();
        return {};
    }
    auto directory = open_directory(parent, name.c_str());
    if (!directory && errno != ENOENT) {
        ec = last_error();
        (void)::unlinkat(parent, name.c_str(), AT_REMOVEDIR);
        return {};
    }
    std::string type;
    if (directory && lock(directory) && read_file(directory.get(), "cgroup.type", type, ec)) {
        if (type == "domain\n" || type == "domain threaded\n")
            return directory;
        // Below a threaded cgroup a new one cannot have processes.
        (void)::unlinkat(parent, name.c_str(), AT_REMOVEDIR);
        ec = make_errno(EOPNOTSUPP);
        return {};
    }
    // Somebody who clears stale leaves away was quicker than our lock.
    (void)::unlinkat(parent, name.c_str(), AT_REMOVEDIR);
    ec = make_errno(EEXIST);
    return {};
}

}  // namespace

cgroup_leaf cgroup_leaf::create(int parent, error_code& ec)
{
    guarded_entry nobodys;
    return create(parent, nobodys, ec);
}

cgroup_leaf cgroup_leaf::create(int parent, guarded_entry& entry, error_code& ec)
{
    // Relaxed: only distinctness matters. Process-wide, because the names are.
    static std::atomic<std::uint64_t> next_number{0};
    cgroup_leaf leaf;
    for (int attempt = 0; attempt < most_names; ++attempt) {
        const auto number = next_number.fetch_add(1, std::memory_order_relaxed);
        if (is_new_place(parent) || number % leaves_per_look == 0)
            remove_stale(parent);
        leaf.name_ = "procyard-" + std::to_string(::getpid()) + '-' + std::to_string(number);
        ec = entry.leaf_comes(parent, leaf.name_);
        if (ec)
            break;
        leaf.directory_ = make_leaf(parent, leaf.name_, ec);
        if (leaf)
            ec = entry.leaf_made(leaf.directory());
        if (leaf || ec != make_errno(EEXIST))
            break;
    }
    if (ec) {
        leaf = {};
        entry.no_leaf();
    }
    return leaf;
}

cgroup_leaf& cgroup_leaf::operator=(cgroup_leaf&& other) noexcept
{
    if (this != &other) {
        remove_quietly();
        directory_ = std::move(other.directory_);
        name_ = std::move(other.name_);
    }
    return *this;
}

cgroup_leaf::~cgroup_leaf()
{
    remove_quietly();
}

void cgroup_leaf::remove_quietly() noexcept
{
    try {
        (void)remove();                // EBUSY: members live on, by the owner's choice
    } catch (const std::bad_alloc&) {  // then it stays for the next one to clear away
    }
}

error_code cgroup_leaf::write(const char* file, const char* text) const
{
    const unique_fd fd(
        retry_eintr([&] { return ::openat(directory_.get(), file, O_WRONLY | O_CLOEXEC); }));
    if (!fd)
        return last_error();
    const auto count = retry_eintr([&] { return ::write(fd.get(), text, std::strlen(text)); });
    return count == -1 ? last_error() : error_code{};
}

unique_fd cgroup_leaf::open_procs(error_code& ec) const
{
    unique_fd fd(retry_eintr(
        [&] { return ::openat(directory_.get(), "cgroup.procs", O_WRONLY | O_CLOEXEC); }));
    ec = fd ? error_code{} : last_error();
    return fd;
}

unique_fd cgroup_leaf::open_events(error_code& ec) const
{
    unique_fd fd(retry_eintr(
        [&] { return ::openat(directory_.get(), "cgroup.events", O_RDONLY | O_CLOEXEC); }));
    ec = fd ? error_code{} : last_error();
    return fd;
}

bool cgroup_leaf::populated(int events, error_code& ec)
{
    char text[256];
    const auto count = retry_eintr([&] { return ::pread(events, text, sizeof text, 0); });
    ec = count == -1 ? last_error() : error_code{};
    if (has_gone(ec)) {
        ec = {};
        return false;
    }
    if (ec)
        return true;
    const auto value = parse_keyed({text, static_cast<std::size_t>(count)}, "populated");
    if (!value)
        ec = make_errno(EPROTO);
    return value != 0U;
}

bool cgroup_leaf::populated(error_code& ec) const
{
    const auto events = open_events(ec);
    if (has_gone(ec)) {
        ec = {};
        return false;
    }
    return !events || populated(events.get(), ec);
}

// Members may have made cgroups of their own in here, as deep as they like: so no recursion, and
// one open directory at a time. Parents come before their children.
std::vector<std::string> cgroup_leaf::inner_cgroups() const
{
    std::vector<std::string> paths;
    for (std::size_t next = 0; next <= paths.size(); ++next) {
        const std::string at = next == 0 ? "." : paths[next - 1];
        std::vector<std::string> names;
        error_code ignored;  // removed meanwhile, or too deep to be named
        (void)list_directory(directory_.get(), at.c_str(), names, true, ignored);
        for (const auto& name : names) {
            auto& path = paths.emplace_back();
            if (next != 0)
                path.append(at).append("/");
            path += name;
        }
    }
    return paths;
}

std::vector<pid_t> cgroup_leaf::members() const
{
    std::vector<pid_t> pids;
    if (!directory_)
        return pids;
    auto paths = inner_cgroups();
    paths.emplace_back(".");
    for (const auto& path : paths) {
        std::string text;
        // EOPNOTSUPP: a threaded cgroup; its processes are listed in the one above it.
        error_code ignored;
        constexpr std::size_t limit_bytes = 64 << 20;  // four million pids
        if (read_file(directory_.get(), (path + "/cgroup.procs").c_str(), text, ignored,
                      limit_bytes))
            parse_pids(text, pids);
    }
    std::sort(pids.begin(), pids.end());
    pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
    return pids;
}

// List, hold, list again: who is in the second list and was not reaped since is the process that is
// held. A number alone may have become a stranger's after the first list.
std::size_t cgroup_leaf::signal_new(int number, std::unordered_set<pid_t>& done,
                                    error_code& first) const
{
    auto pids = members();
    std::erase_if(pids, [&](pid_t pid) { return done.count(pid) != 0; });
    for (std::size_t begin = 0; begin < pids.size(); begin += batch) {
        const auto end = std::min(begin + batch, pids.size());
        std::vector<held_process> held;
        for (auto at = begin; at < end; ++at) {
            if (auto one = held_process::hold(pids[at]))
                held.push_back(std::move(*one));
            done.insert(pids[at]);
        }
        const auto still = members();
        for (const auto& one : held) {
            if (!std::binary_search(still.begin(), still.end(), one.pid()))
                continue;
            const auto ec = one.signal(number);
            if (ec && !first)
                first = ec;
        }
    }
    return pids.size();
}

error_code cgroup_leaf::signal(int number) const
{
    if (!directory_)
        return {};
    if (number == SIGKILL)
        return kill();
    std::unordered_set<pid_t> done;
    error_code first;
    for (int round = 0; round < most_rounds && signal_new(number, done, first) > 0; ++round) { }
    return first;
}

error_code cgroup_leaf::freeze() const
{
    const auto ec = directory_ ? write("cgroup.freeze", "1") : error_code{};
    return has_gone(ec) ? error_code{} : ec;
}

error_code cgroup_leaf::thaw() const
{
    const auto ec = directory_ ? write("cgroup.freeze", "0") : error_code{};
    return has_gone(ec) ? error_code{} : ec;
}

error_code cgroup_leaf::kill() const
{
    if (!directory_)
        return {};
    if (has(kernel().cgroup_kill)) {
        const auto ec = write("cgroup.kill", "1");
        if (ec != make_errno(ENOENT))
            return has_gone(ec) ? error_code{} : ec;
        // Either the leaf has gone, or the kernel has no such file (before 5.14).
        if (::faccessat(directory_.get(), "cgroup.procs", F_OK, 0) == -1)
            return {};
        clear(kernel().cgroup_kill);
    }
    return kill_one_by_one();
}

// Right without the freeze, too, if it comes to an end: a process that got its SIGKILL forks no
// more, so a list without anybody new has everybody. The freeze makes it come to an end.
error_code cgroup_leaf::kill_one_by_one() const
{
    std::unordered_set<pid_t> done;
    error_code first = freeze();
    int round = 0;
    while (signal_new(SIGKILL, done, first) > 0 && round < most_rounds)
        ++round;
    const auto thawed = thaw();
    if (!first && round == most_rounds)
        first = make_errno(EAGAIN);
    return first ? first : thawed;
}

error_code cgroup_leaf::remove()
{
    if (!directory_)
        return {};
    // Looked at first: the inner cgroups of a living family are its own, empty or not.
    error_code ec;
    if (populated(ec))
        return ec ? ec : make_errno(EBUSY);
    const auto paths = inner_cgroups();
    for (auto path = paths.rbegin(); path != paths.rend(); ++path)
        (void)::unlinkat(directory_.get(), path->c_str(), AT_REMOVEDIR);
    const unique_fd parent(retry_eintr(
        [&] { return ::openat(directory_.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC); }));
    if (!parent || ::unlinkat(parent.get(), name_.c_str(), AT_REMOVEDIR) == -1)
        ec = last_error();
    if (ec && !has_gone(ec))
        return ec;
    directory_.reset();
    return {};
}

cgroup_usage cgroup_leaf::read_usage(int directory)
{
    const auto read = [directory](const char* file) -> std::optional<std::string> {
        std::string text;
        error_code ignored;  // no such controller
        if (directory < 0 || !read_file(directory, file, text, ignored))
            return std::nullopt;
        return text;
    };
    cgroup_usage usage;
    if (const auto text = read("memory.peak"))
        usage.memory_peak_bytes = parse_count(*text);
    if (const auto text = read("cpu.stat")) {
        if (const auto value = parse_keyed(*text, "usage_usec"))
            usage.cpu_time = std::chrono::microseconds(*value);
    }
    // The hierarchical counter sees kills in inner cgroups, too; the local one is for kernels that
    // were booted with memory_localevents.
    for (const auto* const file : {"memory.events", "memory.events.local"}) {
        const auto text = read(file);
        const auto value = text ? parse_keyed(*text, "oom_kill") : std::nullopt;
        if (value)
            usage.oom_kills = std::max(usage.oom_kills.value_or(0), *value);
    }
    return usage;
}

cgroup_leaf cgroup_leaf::adopt(unique_fd directory, std::string name)
{
    cgroup_leaf leaf;
    leaf.directory_ = std::move(directory);
    leaf.name_ = std::move(name);
    return leaf;
}

void cgroup_leaf::remove_stale(int parent)
{
    std::vector<std::string> names;
    error_code ignored;  // then they stay
    if (!list_directory(parent, ".", names, true, ignored))
        return;
    for (auto& name : names) {
        if (!is_leaf_name(name))
            continue;
        auto directory = open_directory(parent, name.c_str());
        if (!directory || !lock(directory))
            continue;
        cgroup_leaf stale;
        stale.directory_ = std::move(directory);
        stale.name_ = std::move(name);
        (void)stale.remove();  // EBUSY: its maker was killed, or has detached it; its members live
    }
}

}  // namespace detail

PROCYARD_NAMESPACE_END

// SPDX-License-Identifier: BSL-1.0
#include "survivor_book.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/system/system_error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>
#include <utility>

#include <procyard/ipc/syscall.hpp>

#include "proc_fs.hpp"
#include "proc_text.hpp"
#include "survivor_sweep.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr const char* state_name = "state";
constexpr const char* draft_name = "state.new";
constexpr const char* cut_name = "state.cut";
constexpr const char* lock_name = "lock";
constexpr std::size_t most_bytes = 64 << 20;

std::string line_of(const char* path)
{
    std::string text;
    error_code ignored;
    if (!read_file(AT_FDCWD, path, text, ignored))
        return {};
    return text.substr(0, text.find('\n'));
}

// Pids mean something within one run of the machine, and within one pid namespace.
std::string this_machine()
{
    std::array<char, 64> space{};
    const auto size = ::readlink("/proc/self/ns/pid", space.data(), space.size());
    return line_of("/proc/sys/kernel/random/boot_id") + ' '
        + std::string(space.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
}

// A leaf of the library's own, and no cgroup that others may live in: a supervisor that runs in a
// leaf of somebody else's has services there that have none of their own.
std::string leaf_of(pid_t pid)
{
    const auto path = cgroup_of(pid);
    return may_be_swept(path, cgroup_of(::getpid())) ? path : std::string();
}

}  // namespace

survivor_book::survivor_book(std::filesystem::path directory) : path_(std::move(directory))
{
    open_directory();
    (void)open();
}

bool survivor_book::open()
{
    if (is_open_)
        return true;
    if (!take_lock())
        return false;
    // For people; who has the lock is what the lock says.
    const auto own = std::to_string(holder_.pid) + '\n';
    (void)::ftruncate(lock_.get(), 0);
    (void)::pwrite(lock_.get(), own.data(), own.size(), 0);
    read();
    if (now_.marker.empty())
        now_.marker = new_tree_marker("supervisor");
    // Before the first process: it must be found by its marker, whenever we are killed.
    auto text = now_;
    text.records = old_;
    write_file(to_text(text));
    changed_ = false;
    is_open_ = true;
    return true;
}

// What the file says is killed, so nobody else may write it.
void survivor_book::open_directory()
{
    const auto refuse = [&](int cause) {
        throw boost::system::system_error(make_errno(cause),
                                          "supervisor: state directory \"" + path_.string() + '"');
    };
    if (::mkdir(path_.c_str(), 0700) == -1 && errno != EEXIST)
        refuse(errno);
    directory_.reset(
        retry_eintr([&] { return ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    struct stat info{};
    if (!directory_ || ::fstat(directory_.get(), &info) == -1)
        refuse(errno);
    const bool is_own = info.st_uid == ::geteuid() || info.st_uid == 0;
    if (!is_own || (info.st_mode & 022U) != 0)
        throw std::runtime_error("supervisor: state directory \"" + path_.string()
                                 + "\" may be written by other users");
}

bool survivor_book::take_lock()
{
    if (!lock_) {
        lock_.reset(retry_eintr([&] {
            return ::openat(directory_.get(), lock_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
                            0600);
        }));
    }
    const auto refuse = [&](const error_code& cause) {
        throw boost::system::system_error(cause, "supervisor: lock of \"" + path_.string() + '"');
    };
    if (!lock_)
        refuse(last_error());
    auto found = lock_state::lives;
    try {
        found = detail::take_lock(lock_.get(), holder_);
    } catch (const boost::system::system_error& error) {
        refuse(error.code());
    }
    if (found == lock_state::lives) {
        throw std::runtime_error("supervisor: state directory \"" + path_.string()
                                 + "\" is that of " + to_text(holder_) + ", which lives");
    }
    return found == lock_state::taken;
}

std::string survivor_book::describe_holder() const
{
    return "state directory \"" + path_.string() + "\": " + to_text(holder_)
        + " is dead, but a copy of it that it has forked has the lock";
}

void survivor_book::read()
{
    now_.machine = this_machine();
    std::string text;
    error_code ec;
    if (!read_file(directory_.get(), state_name, text, ec, most_bytes)) {
        if (ec == make_errno(ENOENT))
            return;
        throw boost::system::system_error(ec,
                                          "supervisor: \"" + (path_ / state_name).string() + '"');
    }
    std::string fault;
    auto before = parse_survivors(text, fault);
    if (!before && is_cut_off(text, now_.machine)) {
        // For people. Whoever stood in it has gone with the power.
        (void)::renameat(directory_.get(), state_name, directory_.get(), cut_name);
        return;
    }
    if (!before)
        throw std::runtime_error("supervisor: \"" + (path_ / state_name).string() + "\": " + fault);
    now_.marker = std::move(before->marker);
    if (before->machine == now_.machine)
        old_ = std::move(before->records);
}

void survivor_book::forget_the_old()
{
    old_.clear();
    changed_ = true;
}

survivor_book::ticket survivor_book::add(std::string_view service, std::uint64_t generation,
                                         pid_t pid)
{
    const auto record = read_stat(pid);
    if (!record)
        return {};
    now_.records.push_back({std::string(service), generation, pid, record->start_ticks,
                            leaf_of(pid), record->group == pid, record->session == pid});
    changed_ = true;
    return {pid, record->start_ticks};
}

void survivor_book::remove(ticket of)
{
    const auto is_it = [&](const survivor_record& one) {
        return one.pid == of.pid && one.start_ticks == of.start_ticks;
    };
    changed_ = std::erase_if(now_.records, is_it) > 0 || changed_;
}

void survivor_book::write() noexcept
{
    if (!changed_)
        return;
    try {
        write_file(to_text(now_));
        changed_ = false;
    } catch (const std::exception&) {
        changed_ = true;  // no room, no memory: with the next change
    }
}

void survivor_book::write_file(const std::string& text)
{
    const auto refuse = [&] {
        throw boost::system::system_error(last_error(),
                                          "supervisor: \"" + (path_ / draft_name).string() + '"');
    };
    const unique_fd draft(retry_eintr([&] {
        return ::openat(directory_.get(), draft_name,
                        O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    }));
    if (!draft)
        refuse();
    std::string_view rest = text;
    while (!rest.empty()) {
        const auto written =
            retry_eintr([&] { return ::write(draft.get(), rest.data(), rest.size()); });
        if (written < 0)
            refuse();
        rest.remove_prefix(static_cast<std::size_t>(written));
    }
    if (::renameat(directory_.get(), draft_name, directory_.get(), state_name) == -1)
        refuse();
}

}  // namespace detail

PROCYARD_NAMESPACE_END

// SPDX-License-Identifier: BSL-1.0
#include "guardian_core.hpp"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/system/system_error.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>

#include <procyard/ipc/syscall.hpp>
#include <procyard/runtime/spawn.hpp>

#include "child_access.hpp"
#include "child_core.hpp"
#include "command_access.hpp"
#include "guarded_entry.hpp"
#include "proc_fs.hpp"
#include "service_command.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::chrono::seconds most_start_time{10};

// What it says until it is there, or has gone; empty: nothing within its time.
std::optional<std::string> first_words(int from)
{
    const auto until = std::chrono::steady_clock::now() + most_start_time;
    std::string said;
    while (!said.ends_with('\n')) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        if (left.count() <= 0)
            return std::nullopt;
        pollfd ready{from, POLLIN, 0};
        if (::poll(&ready, 1, static_cast<int>(left.count())) <= 0)
            continue;
        char text[512];
        const auto count = retry_eintr([&] { return ::read(from, text, sizeof text); });
        if (count <= 0)
            break;
        said.append(text, static_cast<std::size_t>(count));
    }
    return said;
}

}  // namespace

guardian_core::guardian_core(const asio::any_io_executor& ex, command program)
    : program_(std::move(program)),
      mark_(new_tree_marker("guardian")),
      host_(::getpid())
{
    // Each would start the next one.
    if (std::getenv(std::string(guardian_variable).c_str()) != nullptr)
        throw std::runtime_error("guardian: this process was started as one: run_if_guardian() has "
                                 "to be called at the beginning of main()");
    // Else it would be the prey of another one, or its host.
    command_access::remove_guardian(program_);
    start(ex);
}

bool guardian_core::is_ours() const noexcept
{
    return ::getpid() == host_;
}

std::shared_ptr<child> guardian_core::process() const
{
    const std::lock_guard lock(mutex_);
    return process_;
}

pid_t guardian_core::id() const
{
    return process()->id();
}

void guardian_core::set_starter(std::thread::id who)
{
    const std::lock_guard lock(mutex_);
    starter_ = who;
}

void guardian_core::keep(const asio::any_io_executor& ex)
{
    const auto self = std::this_thread::get_id();
    {
        const std::lock_guard lock(mutex_);
        if (starter_ == self)
            return;  // an observer, which hears of its end or its start
    }
    const std::lock_guard one_at_a_time(start_mutex_);
    set_starter(self);
    try {
        const auto last = process();
        // Killed with its context, and perhaps not dead as yet.
        if (last->try_wait() || !child_access::core(*last)->has_context())
            start(ex);
    } catch (...) {
        set_starter({});
        throw;
    }
    set_starter({});
}

void guardian_core::start(const asio::any_io_executor& ex)
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) == -1)
        throw boost::system::system_error(last_error(), "guardian: pipe");
    const unique_fd from(ends[0]);
    unique_fd to(ends[1]);
    auto what = program_;
    forget_our_own(what);
    what.env(std::string(guardian_variable), std::to_string(host_) + ' ' + mark_)
        .std_in(stdio::null())
        .std_out(stdio::null())
        .std_err(stdio::null())
        .descriptor(guardian_book_number, stdio::borrow(book_.descriptor()))
        .descriptor(guardian_word_number, stdio::borrow(to.get()))
        .working_directory("/")
        .new_session()
        .parent_death_signal(0)
        .tree(tree_mode::none)
        .on_drop(drop_policy::kill_tree());
    auto process = std::make_shared<child>(spawn(what, ex));
    to.reset();
    const auto said = first_words(from.get());
    if (said == guardian_is_there) {
        const std::lock_guard lock(mutex_);
        process_.swap(process);  // the old one goes when nobody holds a lock
        return;
    }
    auto problem = "guardian: " + program_.to_string();
    if (!said) {
        problem += " has not called run_if_guardian() within "
            + std::to_string(most_start_time.count()) + " s";
    } else if (said->empty()) {
        problem += " has ended, and not called run_if_guardian()";
    } else {
        problem += " says: " + said->substr(0, said->find('\n'));
    }
    throw std::runtime_error(problem);
}

guarded_entry::guarded_entry(std::shared_ptr<guardian_core> by, error_code& ec)
{
    ec = by->book().take(slot_);
    if (ec)
        return;
    by_ = std::move(by);
    closed_ = false;
    what_.is_taken = true;
    ec = write();
}

guarded_entry& guarded_entry::operator=(guarded_entry&& other) noexcept
{
    if (this != &other) {
        close();
        by_ = std::move(other.by_);
        closed_ = other.closed_;
        slot_ = other.slot_;
        what_ = other.what_;
    }
    return *this;
}

// Not in a copy of the host: the memory is the one that the original has.
error_code guarded_entry::write() noexcept
{
    return is_open() && by_->is_ours() ? by_->book().write(slot_, what_) : error_code{};
}

error_code guarded_entry::leaf_comes(int parent, std::string_view name)
{
    if (!by_)
        return {};
    std::array<char, PATH_MAX> path{};
    const auto link = "/proc/self/fd/" + std::to_string(parent);
    const auto size = ::readlink(link.c_str(), path.data(), path.size());
    if (size == -1)
        return last_error();
    std::string all(path.data(), static_cast<std::size_t>(size));
    all.append("/").append(name);
    if (!what_.set_leaf_path(all))
        return make_errno(ENAMETOOLONG);
    what_.leaf_inode = 0;
    return write();
}

error_code guarded_entry::leaf_made(int directory)
{
    struct stat info{};
    if (by_ && ::fstat(directory, &info) == -1)
        return last_error();
    what_.leaf_inode = static_cast<std::uint64_t>(info.st_ino);
    return write();
}

void guarded_entry::no_leaf() noexcept
{
    what_.leaf_inode = 0;
    what_.leaf.fill('\0');
    (void)write();
}

int guarded_entry::book() const noexcept
{
    return is_open() ? by_->book().descriptor() : -1;
}

std::int64_t guarded_entry::place_of_pid() const noexcept
{
    return guardian_book::place_of_pid(slot_);
}

error_code guarded_entry::child_made(pid_t pid) noexcept
{
    if (!by_)
        return {};
    error_code ec;
    try {
        const auto record =
            read_stat(AT_FDCWD, ("/proc/" + std::to_string(pid) + "/stat").c_str(), ec);
        if (record) {
            what_.pid = pid;
            what_.start_ticks = record->start_ticks;
            what_.leads_group = record->group == pid;
            what_.leads_session = record->session == pid;
            what_.session = record->session;
        }
    } catch (const std::bad_alloc&) {
        ec = make_errno(ENOMEM);
    }
    if (is_shortage(ec))
        return ec;
    // Who has gone already is found by the mark, if he has left anybody. Then the number that he
    // has written himself goes.
    return write();
}

void guarded_entry::close() noexcept
{
    if (is_open() && by_->is_ours())
        by_->book().give_back(slot_);
    closed_ = true;
}

void guarded_entry::leave() noexcept
{
    what_.pid = 0;
    what_.leads_group = what_.leads_session = false;
    (void)write();
    closed_ = true;
}

}  // namespace detail

guardian::guardian(const asio::any_io_executor& ex)
    : guardian(ex,
               // Not by its path, where another version may be by now.
               command("/proc/self/exe").arg0("procyard-guardian " + std::to_string(::getpid())))
{
}

guardian::guardian(const asio::any_io_executor& ex, const command& program)
    : core_(std::make_shared<detail::guardian_core>(ex, program))
{
}

pid_t guardian::id() const
{
    return core_->id();
}

PROCYARD_NAMESPACE_END

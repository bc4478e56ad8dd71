// SPDX-License-Identifier: BSL-1.0
#include "proc_fs.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <boost/system/system_error.hpp>

#include <array>
#include <cerrno>
#include <memory>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "kernel_features.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// Room for the environment of a process; what stands behind it is not looked at.
constexpr std::size_t environment_limit_bytes = 8 << 20;
constexpr int most_readings = 8;

std::string process_path(pid_t pid, std::string_view below)
{
    std::string path = "/proc/";
    path += std::to_string(pid);
    path += below;
    return path;
}

std::vector<pid_t> list_threads(pid_t pid, error_code& ec)
{
    std::vector<std::string> names;
    (void)list_directory(AT_FDCWD, process_path(pid, "/task").c_str(), names, true, ec);
    std::vector<pid_t> threads;
    for (const auto& name : names) {
        if (const auto thread = parse_pid(name))
            threads.push_back(*thread);
    }
    return threads;
}

std::string thread_path(pid_t pid, pid_t thread, std::string_view below)
{
    std::string path = process_path(pid, "/task/");
    path += std::to_string(thread);
    path += below;
    return path;
}

}  // namespace

bool read_file(int directory, const char* name, std::string& text, error_code& ec,
               std::size_t limit_bytes)
{
    text.clear();
    const unique_fd fd(
        retry_eintr([&] { return ::openat(directory, name, O_RDONLY | O_CLOEXEC); }));
    if (!fd) {
        ec = last_error();
        return false;
    }
    char buffer[4096];
    while (text.size() < limit_bytes) {
        const auto count = retry_eintr([&] { return ::read(fd.get(), buffer, sizeof buffer); });
        if (count == -1) {
            ec = last_error();
            return false;
        }
        if (count == 0)
            break;
        text.append(buffer, static_cast<std::size_t>(count));
    }
    ec = {};
    return true;
}

bool list_directory(int directory, const char* name, std::vector<std::string>& names,
                    bool directories_only, error_code& ec)
{
    unique_fd fd(
        retry_eintr([&] { return ::openat(directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    if (!fd) {
        ec = last_error();
        return false;
    }
    struct closer {
        void operator()(DIR* stream) const noexcept { (void)::closedir(stream); }
    };
    const std::unique_ptr<DIR, closer> stream(::fdopendir(fd.get()));
    if (!stream) {
        ec = last_error();
        return false;
    }
    (void)fd.release();  // the stream's now
    for (;;) {
        errno = 0;
        const auto* const entry = ::readdir(stream.get());
        if (entry == nullptr) {
            ec = errno == 0 ? error_code{} : last_error();
            return !ec;
        }
        const std::string_view found = entry->d_name;
        if (found == "." || found == "..")
            continue;
        if (directories_only && entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN)
            continue;
        names.emplace_back(found);
    }
}

bool proc_is_ours() noexcept
{
    char target[32];
    const auto length = ::readlink("/proc/self", target, sizeof target);
    return length > 0
        && parse_pid({target, static_cast<std::size_t>(length)}) == std::optional(::getpid());
}

bool is_shortage(const error_code& ec) noexcept
{
    return ec == make_errno(EMFILE) || ec == make_errno(ENFILE) || ec == make_errno(ENOMEM);
}

std::optional<process_record> read_stat(int directory, const char* name, error_code& ec)
{
    std::string text;
    return read_file(directory, name, text, ec) ? parse_stat(text) : std::nullopt;
}

std::optional<process_record> read_stat(pid_t pid)
{
    error_code ignored;  // no such process
    auto record = read_stat(AT_FDCWD, process_path(pid, "/stat").c_str(), ignored);
    if (record && record->pid != pid)
        record.reset();
    return record;
}

bool list_processes(std::vector<pid_t>& pids, error_code& ec)
{
    std::vector<std::string> names;
    if (!proc_is_ours()) {
        ec = make_errno(ENOENT);
        return false;
    }
    if (!list_directory(AT_FDCWD, "/proc", names, true, ec))
        return false;
    for (const auto& name : names) {
        if (const auto pid = parse_pid(name))
            pids.push_back(*pid);
    }
    return true;
}

namespace {

// Of a process whose first thread has ended while others run on: the environment is theirs now.
tree_marking look_at_threads(pid_t pid, std::string_view id)
{
    error_code ec;
    const auto threads = list_threads(pid, ec);
    if (is_shortage(ec))
        return tree_marking::unknown;
    for (const auto thread : threads) {
        std::string text;
        const bool was_read = read_file(AT_FDCWD, thread_path(pid, thread, "/environ").c_str(),
                                        text, ec, environment_limit_bytes);
        if (was_read && !text.empty())
            return has_tree_marker(text, id) ? tree_marking::present : tree_marking::absent;
        if (is_shortage(ec))
            return tree_marking::unknown;
    }
    return tree_marking::absent;
}

}  // namespace

std::string new_tree_marker(std::string_view whose)
{
    std::array<unsigned char, 16> chance{};
    std::string marker(whose);
    if (retry_eintr([&] { return ::getrandom(chance.data(), chance.size(), 0); })
        != static_cast<ssize_t>(chance.size()))
        throw boost::system::system_error(last_error(), marker + ": getrandom");
    marker += '-';
    constexpr std::string_view digits = "0123456789abcdef";
    for (const auto byte : chance) {
        marker += digits[byte >> 4U];
        marker += digits[byte & 15U];
    }
    return marker;
}

tree_marking look_for_marker(pid_t pid, std::string_view id)
{
    // Read again where the exec came to its end between the two files; but a process that has
    // unmapped its environment must not be asked for ever.
    for (int reading = 0; reading < most_readings; ++reading) {
        std::string text;
        error_code ec;
        // Who has no memory any more is ESRCH on newer kernels (on 6.18), and an empty file before.
        if (!read_file(AT_FDCWD, process_path(pid, "/environ").c_str(), text, ec,
                       environment_limit_bytes)
            && ec != make_errno(ESRCH))
            return is_shortage(ec) ? tree_marking::unknown : tree_marking::absent;
        if (!text.empty())
            return has_tree_marker(text, id) ? tree_marking::present : tree_marking::absent;
        const auto record = read_stat(pid);
        if (!record || is_dead(*record))
            return tree_marking::absent;
        if (record->state == 'Z')
            return look_at_threads(pid, id);
        if (record->code_begin == 0) {
            // A kernel that tells of nobody does not tell of us either (gVisor's).
            const auto own = read_stat(::getpid());
            return own && own->code_begin != 0 ? tree_marking::unknown : tree_marking::absent;
        }
        if (record->environment_begin == record->environment_end)
            return tree_marking::absent;
    }
    return tree_marking::absent;
}

bool genealogy::children_of(pid_t pid, std::vector<pid_t>& children)
{
    if (has(kernel().proc_children)) {
        const auto result = read_children_files(pid, children);
        if (result != reading::no_such_file)
            return result == reading::done;
    }
    if (!read_table())
        return false;
    for (const auto& record : table_) {
        if (record.parent == pid)
            children.push_back(record.pid);
    }
    return true;
}

bool genealogy::our_children(std::vector<pid_t>& children)
{
    bool is_good = true;
    std::vector<pid_t> before;
    for (int n = 0; n < most_readings; ++n) {
        before.swap(children);
        children.clear();
        begin_pass();
        is_good = children_of(::getpid(), children) && is_good;
        if (n > 0 && children == before)
            break;
    }
    return is_good;
}

genealogy::reading genealogy::read_children_files(pid_t pid, std::vector<pid_t>& children)
{
    error_code ec;
    const auto threads = list_threads(pid, ec);
    auto result = is_shortage(ec) ? reading::failed : reading::done;
    for (const auto thread : threads) {
        std::string text;
        if (read_file(AT_FDCWD, thread_path(pid, thread, "/children").c_str(), text, ec)) {
            parse_pids(text, children);
        } else if (ec == make_errno(ENOENT) && ::access("/proc/thread-self/children", F_OK) == -1) {
            // It is not that this thread has ended: the kernel has no such file.
            clear(kernel().proc_children);
            return reading::no_such_file;
        } else if (is_shortage(ec)) {
            result = reading::failed;
        }
    }
    return result;
}

bool genealogy::read_table()
{
    if (table_is_read_)
        return table_is_good_;
    table_is_read_ = true;
    table_.clear();
    std::vector<pid_t> pids;
    error_code ignored;  // the caller is told that there is no table
    table_is_good_ = list_processes(pids, ignored);
    for (const auto pid : pids) {
        if (const auto record = read_stat(pid))
            table_.push_back(*record);
    }
    return table_is_good_;
}

bool genealogy::threads_at_rest(pid_t pid)
{
    error_code ignored;  // the process, or the thread, has ended
    for (const auto thread : list_threads(pid, ignored)) {
        const auto record = read_stat(AT_FDCWD, thread_path(pid, thread, "/stat").c_str(), ignored);
        if (record && !is_at_rest(record->state))
            return false;
    }
    return true;
}

}  // namespace detail

PROCYARD_NAMESPACE_END

// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PASSED_END_HPP
#define PROCYARD_RUNTIME_SRC_PASSED_END_HPP

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unopened.hpp>
#include <procyard/runtime/command.hpp>

#include "command_access.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The variable by which a child finds its ends of channels:
//
//     PROCYARD_CHANNELS=ticks=3:81234:0:262144:0:0:16777216:;orders=4:81236:16:262144:0:2:0:orders
//
// a name, the descriptor's number, its inode (so that another descriptor with this number, later,
// is not taken for it), the capacity in messages and in bytes, whether it goes across users, what
// its sender does when it is full, the longest message, and what the channel is called. Where the
// end maps another number of its peer's bytes than it would without being told, an entry of its own
// says so, behind this one:
//
//     ;ticks=max_peer_bytes:134221824
//
// which a child that is older takes for a malformed one, and skips. (One more field would have been
// a part of the name to it, and bad; a number is expected behind each name.)
inline constexpr std::string_view channels_variable = "PROCYARD_CHANNELS";
/// In it: how many values a when_full has.
inline constexpr unsigned when_full_count = 4;
inline constexpr std::string_view peer_bytes_field = "max_peer_bytes:";

[[nodiscard]] inline bool is_channel_name(std::string_view name) noexcept
{
    constexpr std::string_view good = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789_-.";
    return !name.empty() && name.find_first_not_of(good) == std::string_view::npos;
}

// An end of a channel that a command passes to its child: shared by the command's copies, of which
// the first that is spawned takes it along.
class passed_end {
public:
    passed_end(std::string name, unique_fd fd, const channel_options& options)
        : name_(std::move(name)),
          options_(options),
          inode_(inode_of(fd.get())),
          fd_(fd.release())
    {
    }
    passed_end(const passed_end&) = delete;
    passed_end& operator=(const passed_end&) = delete;
    ~passed_end() { unique_fd(fd_.load(std::memory_order_relaxed)); }

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const channel_options& options() const noexcept { return options_; }

    [[nodiscard]] std::uint64_t inode() const noexcept { return inode_; }

    // Empty: another spawn has taken it, or is about to.
    [[nodiscard]] unique_fd take() noexcept
    {
        // Relaxed: whoever gets the number has got it alone, and nothing else is published.
        return unique_fd(fd_.exchange(-1, std::memory_order_relaxed));
    }
    // That spawn has failed.
    void put_back(unique_fd fd) noexcept { fd_.store(fd.release(), std::memory_order_relaxed); }
    [[nodiscard]] bool is_there() const noexcept
    {
        return fd_.load(std::memory_order_relaxed) >= 0;
    }

private:
    [[nodiscard]] static std::uint64_t inode_of(int fd) noexcept
    {
        struct stat about{};
        return ::fstat(fd, &about) == 0 ? about.st_ino : 0;
    }

    std::string name_;
    channel_options options_;
    std::uint64_t inode_;
    std::atomic<int> fd_;
};

// The numbers in the child: the lowest that the command does not use otherwise, above those of
// socket activation, which begin at 3.
class passed_numbers {
public:
    explicit passed_numbers(const command& what) noexcept
        : what_(what),
          last_(2 + static_cast<int>(command_access::listen_descriptors(what).size()))
    {
    }

    [[nodiscard]] int next() noexcept
    {
        const auto& used = command_access::descriptors(what_);
        while (used.find(++last_) != used.end()) { }
        return last_;
    }

private:
    const command& what_;
    int last_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

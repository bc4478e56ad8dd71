// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_GUARDIAN_BOOK_HPP
#define PROCYARD_RUNTIME_SRC_GUARDIAN_BOOK_HPP

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <type_traits>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a guardian has to know of one child when its process has died: a slot of the book.
struct guarded_child {
    // 0: none yet. With the start time it is that process and no other. The child writes its number
    // itself, before its exec; as long as its parent has not added the start time, that is 0.
    pid_t pid = 0;
    // It leads the group, or the session, of its number.
    bool leads_group = false;
    bool leads_session = false;
    bool is_taken = false;
    // To whatever group its members have moved, that group is one of this session.
    pid_t session = 0;
    std::uint64_t start_ticks = 0;
    // The directory of its cgroup, ended by a zero. It is there before the directory is, and what
    // says that the directory is this one, its inode, after: with 0 nobody is in it yet.
    std::uint64_t leaf_inode = 0;
    std::array<char, 992> leaf{};

    [[nodiscard]] std::string_view leaf_path() const noexcept;
    // False: it is too long.
    [[nodiscard]] bool set_leaf_path(std::string_view path) noexcept;
};
// A slot lies within a page: the kernel writes it whole, whenever the writer is killed.
static_assert(sizeof(guarded_child) == 1024 && std::is_trivially_copyable_v<guarded_child>);

// The children of a guardian, in memory that outlives the process which writes it.
//
// Written by system calls, and read when the writer is dead. Rejected: messages to the guardian,
// which have to wait for one that stands still, and are lost with one that was killed; and stores
// into a mapping, which could be torn by a kill, and have to be mapped anew when it grows.
//
// Thread safety: distinct and shared objects: safe.
class guardian_book {
public:
    // throws system_error
    guardian_book();

    [[nodiscard]] int descriptor() const noexcept { return memory_.get(); }

    // A slot of one's own; ENOMEM, EFBIG when there is no room for it.
    [[nodiscard]] error_code take(std::size_t& slot);
    [[nodiscard]] error_code write(std::size_t slot, const guarded_child& what) const noexcept;
    // It is empty, and another one's.
    void give_back(std::size_t slot) noexcept;
    // Where the number of its process is written.
    [[nodiscard]] static std::int64_t place_of_pid(std::size_t slot) noexcept;

    // What is in a book that another process has written.
    [[nodiscard]] static std::vector<guarded_child> read(int memory);

private:
    [[nodiscard]] error_code grow();

    unique_fd memory_;
    std::mutex mutex_;
    std::size_t slots_ = 0;
    std::vector<std::size_t> free_{};  // has room for all of them
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

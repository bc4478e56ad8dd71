// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_GUARDED_ENTRY_HPP
#define PROCYARD_RUNTIME_SRC_GUARDED_ENTRY_HPP

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <procyard/ipc/config.hpp>

#include "guardian_book.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class guardian_core;

// One child in the book of its guardian, until it has gone with its cgroup. Movable; without a
// guardian every call is a success without effect.
class guarded_entry {
public:
    guarded_entry() noexcept = default;
    // ec: there is no room for it.
    guarded_entry(std::shared_ptr<guardian_core> by, error_code& ec);
    guarded_entry(guarded_entry&& other) noexcept = default;
    guarded_entry& operator=(guarded_entry&& other) noexcept;
    ~guarded_entry() { close(); }

    // A cgroup is about to be made; ENAMETOOLONG.
    [[nodiscard]] error_code leaf_comes(int parent, std::string_view name);
    // It is there, and it is this one; nobody is in it yet.
    [[nodiscard]] error_code leaf_made(int directory);
    // There is none, or none any more.
    void no_leaf() noexcept;
    // Where a child that is being born writes its number: a descriptor, or -1, and the place.
    [[nodiscard]] int book() const noexcept;
    [[nodiscard]] std::int64_t place_of_pid() const noexcept;
    // It is there. ec: it cannot be looked at, for want of a descriptor or of memory.
    [[nodiscard]] error_code child_made(pid_t pid) noexcept;

    // Out of the book. The guardian is kept until the destructor: its end is that of a child, which
    // must not come while somebody holds a lock.
    void close() noexcept;
    // The cgroup stays in the book: it has members that this process has let go. Not the number,
    // which may be another's long before this process ends.
    void leave() noexcept;

private:
    [[nodiscard]] bool is_open() const noexcept { return by_ != nullptr && !closed_; }
    [[nodiscard]] error_code write() noexcept;

    std::shared_ptr<guardian_core> by_{};
    bool closed_ = false;
    std::size_t slot_ = 0;
    guarded_child what_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

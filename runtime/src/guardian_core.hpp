// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_GUARDIAN_CORE_HPP
#define PROCYARD_RUNTIME_SRC_GUARDIAN_CORE_HPP

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/guardian.hpp>

#include "guardian_book.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a guardian is told, in its environment: whose it is, and by which mark.
inline constexpr std::string_view guardian_variable = "PROCYARD_GUARDIAN";
// Its book, and where it says that it is there.
inline constexpr int guardian_book_number = 3;
inline constexpr int guardian_word_number = 4;
inline constexpr std::string_view guardian_is_there = "watching\n";

// A guardian as its process sees it.
// Thread safety: distinct and shared objects: safe.
class guardian_core {
public:
    // throws what guardian's constructor throws
    guardian_core(asio::any_io_executor ex, command program);

    // Before a guarded child is made: it is there, or it is started again.
    // throws the same
    void keep();
    // Whether this process is the one that it guards, and no copy of that.
    [[nodiscard]] bool is_ours() const noexcept;

    // The id in PROCYARD_TREE of all that it guards.
    [[nodiscard]] const std::string& mark() const noexcept { return mark_; }
    [[nodiscard]] guardian_book& book() noexcept { return book_; }
    [[nodiscard]] pid_t id() const;

private:
    void start();

    const asio::any_io_executor executor_;
    const command program_;
    const std::string mark_;
    const pid_t host_;
    guardian_book book_;
    mutable std::mutex mutex_;
    child process_{};
};

struct guardian_access {
    static const std::shared_ptr<guardian_core>& core(const guardian& g) noexcept
    {
        return g.core_;
    }
};

// One child in the book of its guardian, until it has gone with its cgroup. Movable; empty after
// that, and then every call is a success without effect.
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
    [[nodiscard]] int book() const noexcept { return by_ ? by_->book().descriptor() : -1; }
    [[nodiscard]] std::int64_t place_of_pid() const noexcept;
    // It is there. ec: it cannot be looked at, for want of a descriptor or of memory.
    [[nodiscard]] error_code child_made(pid_t pid) noexcept;

    void close() noexcept;
    // It stays in the book: a cgroup with members that this process has let go.
    void leave() noexcept { by_.reset(); }

private:
    [[nodiscard]] error_code write() noexcept;

    std::shared_ptr<guardian_core> by_{};
    std::size_t slot_ = 0;
    guarded_child what_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_GUARDIAN_CORE_HPP
#define PROCYARD_RUNTIME_SRC_GUARDIAN_CORE_HPP

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

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
    guardian_core(const asio::any_io_executor& ex, command program);

    // Before a guarded child is made: it is there, or it is started again, in the context of that
    // child: the one that it was made in may have gone, and the guardian with it.
    // throws the same
    void keep(const asio::any_io_executor& ex);
    // Whether this process is the one that it guards, and no copy of that.
    [[nodiscard]] bool is_ours() const noexcept;

    // The id in PROCYARD_TREE of all that it guards.
    [[nodiscard]] const std::string& mark() const noexcept { return mark_; }
    [[nodiscard]] guardian_book& book() noexcept { return book_; }
    [[nodiscard]] pid_t id() const;

private:
    void start(const asio::any_io_executor& ex);
    void set_starter(std::thread::id who);
    [[nodiscard]] std::shared_ptr<child> process() const;

    command program_;
    const std::string mark_;
    const pid_t host_;
    guardian_book book_;
    // One starts it at a time. Observers hear of it meanwhile, and may start what it guards.
    std::mutex start_mutex_;
    mutable std::mutex mutex_;  // for what follows; nobody is called under it
    std::thread::id starter_{};
    std::shared_ptr<child> process_{};
};

struct guardian_access {
    static const std::shared_ptr<guardian_core>& core(const guardian& g) noexcept
    {
        return g.core_;
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SURVIVOR_BOOK_HPP
#define PROCYARD_RUNTIME_SRC_SURVIVOR_BOOK_HPP

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "survivor_lock.hpp"
#include "survivor_record.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The state directory of a supervisor: `lock`, which it holds as long as it lives, and `state`,
// which says what would outlive it. The file is written beside its old version and takes its
// place, so that it is whole whenever the supervisor is killed. A machine that loses its power
// needs no record: its processes have gone. What a file system leaves of the file then (nothing, a
// beginning, zeros) counts as of another run of the machine, and is kept as `state.cut`. Rejected:
// to sync each version, for which the loop that supervises would wait for the disk.
class survivor_book {
public:
    // Makes the directory if need be, and reads what another supervisor has left.
    // throws system_error, runtime_error: with the path; another supervisor lives, others may write
    // here, it is not ours
    explicit survivor_book(std::filesystem::path directory);

    // Whether it is ours. It is not as long as a copy of a supervisor that is dead holds the lock,
    // a child before its exec: then it is asked again, and until then there is nothing in it.
    // throws as the constructor does: another one may have come first
    [[nodiscard]] bool open();
    // Who has it, while it is not ours: for a message.
    [[nodiscard]] std::string describe_holder() const;

    // For PROCYARD_TREE.
    [[nodiscard]] const std::string& marker() const noexcept { return now_.marker; }
    // Of the supervisor before this one; until forget_the_old() they stand in the file.
    [[nodiscard]] const std::vector<survivor_record>& old() const noexcept { return old_; }
    void forget_the_old();

    // By pid and start time: members of different groups may share their names.
    struct ticket {
        pid_t pid = 0;
        std::uint64_t start_ticks = 0;
    };
    [[nodiscard]] ticket add(std::string_view service, std::uint64_t generation, pid_t pid);
    void remove(ticket of);
    // Writes what has changed. What cannot be written is tried again with the next change: the
    // marker finds whoever is not in the file.
    void write() noexcept;

private:
    void open_directory();
    [[nodiscard]] bool take_lock();
    void read();
    void write_file(const std::string& text);

    std::filesystem::path path_;
    unique_fd directory_{};
    unique_fd lock_{};
    lock_holder holder_{};
    bool is_open_ = false;
    std::vector<survivor_record> old_{};
    survivor_file now_{};
    bool changed_ = true;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

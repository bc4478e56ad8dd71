// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CONNECTIONS_HPP
#define PROCYARD_RUNTIME_SRC_CONNECTIONS_HPP

#include <boost/container/small_vector.hpp>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/spawn_error.hpp>

#include "plan_builder.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// What a pipe's failure names when the capacity was refused: `1, 65536 bytes`.
[[nodiscard]] std::string capacity_operand(int number, std::size_t capacity_bytes);

/// The parent's side of a child's descriptors: opens files, makes pipes and terminals, and says
/// which number goes where.
class connections {
public:
    /// Fills in the plan's moves and kept numbers. Pipes are enlarged while `may_enlarge`.
    [[nodiscard]] spawn_failure open(const command& what, bool may_enlarge, spawn_plan& plan);

    connections() = default;
    connections(const connections&) = delete;
    connections& operator=(const connections&) = delete;
    /// Ends of channels that have not been given away go back to the command.
    ~connections();

    /// Closes what only the child needed.
    void close_child_ends() noexcept { child_ends_.clear(); }
    /// The child is there: its ends of channels are its own.
    void give_away() noexcept { passed_.clear(); }

    /// The parent's ends; empty where there is none.
    unique_fd parent_ends[3];
    /// The terminal's own side, when there is one.
    unique_fd terminal;
    /// How many pipes were made larger than the kernel's default.
    unsigned enlarged_pipes = 0;

private:
    spawn_failure connect(const command& what, int number, const stdio& s, spawn_plan& plan);
    static void merge(int number, const stdio& s, spawn_plan& plan);
    int own(unique_fd fd);
    spawn_failure make_pipe(const command& what, int number, const stdio& s, int& child_end);
    spawn_failure make_socket(const command& what, int number, int& child_end);
    spawn_failure make_terminal(const command& what, int number, const stdio& s, int& child_end);
    spawn_failure open_path(const command& what, const char* path, int flags, mode_t mode,
                            int& child_end);

    struct taken_end {
        passed_end* from;  // the command's, which outlives the spawn
        unique_fd fd;
    };
    spawn_failure pass(const command& what, spawn_plan& plan);
    spawn_failure give(const command& what, spawn_plan& plan);

    boost::container::small_vector<unique_fd, 6> child_ends_;
    std::vector<taken_end> passed_;
    bool may_enlarge_ = false;
    int null_ = -1;
    int terminal_slave_ = -1;
};

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif

// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_LAUNCH_HPP
#define PROCYARD_RUNTIME_SRC_LAUNCH_HPP

#include <boost/asio/any_io_executor.hpp>

#include <memory>
#include <optional>
#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/spawn_error.hpp>
#include <procyard/runtime/tree.hpp>

#include "child_core.hpp"
#include "child_service.hpp"
#include "clone_child.hpp"
#include "connections.hpp"
#include "launch_pad.hpp"
#include "plan_builder.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// What keeps a tree together where the command leaves it open. `without_cgroup` is what it is to
/// be where there is no cgroup of its own: `process_group` or `subreaper`.
[[nodiscard]] tree_mode chosen_mode(const command& what, tree_mode without_cgroup);

/// One attempt to spawn, from the checked command to the running child.
class launch {
public:
    launch(const command& what, child_service& service, const asio::any_io_executor& executor,
           tree_mode mode, tree_mode without_cgroup)
        : what_(what),
          service_(service),
          core_(std::make_shared<child_core>(service, executor)),
          tree_mode_(mode),
          without_cgroup_(without_cgroup)
    {
    }

    /// After a failed run: the mode to try again with, where the cgroup was the cause and there is
    /// another way.
    [[nodiscard]] std::optional<tree_mode> other_way();

    spawn_failure run();
    [[nodiscard]] std::shared_ptr<child_core> take() noexcept { return std::move(core_); }

private:
    spawn_failure prepare();
    spawn_failure prepare_guardian();
    [[nodiscard]] std::string marker_of_child(const plan_context& context) const;
    spawn_failure prepare_tree();
    spawn_failure prepare_cgroup();
    [[nodiscard]] int cgroup_directory() const noexcept;
    [[nodiscard]] std::string cgroup_name() const;
    [[nodiscard]] std::string operand_of(const child_op& op) const;
    void trim_table(launch_pads::lease& pad);
    [[nodiscard]] bool use_slots(launch_pads::lease& pad);
    [[nodiscard]] bool table_could_not_be_trimmed(const spawn_failure& failure) const noexcept;
    spawn_failure clone(launch_pads::lease& pad);
    spawn_failure failure_of_child();
    void reap_failed(const clone_result& made) const noexcept;
    spawn_failure finish();
    void disown() noexcept;

    const command& what_;
    child_service& service_;
    std::shared_ptr<child_core> core_;
    tree_mode tree_mode_;
    tree_mode without_cgroup_;
    unique_fd named_cgroup_;
    unique_fd cgroup_procs_;
    spawn_plan plan_;
    connections connections_;
    clone_result made_;
    int namespaces_error_ = 0;
};

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif

// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SPAWN_WHOLE_TREE_HPP
#define PROCYARD_RUNTIME_SRC_SPAWN_WHOLE_TREE_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>

#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/spawn_error.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void start_spawn_whole_tree(command what, asio::any_io_executor executor, spawn_failure& failure,
                            asio::any_completion_handler<void(error_code, child)> handler);

// As `async_spawn`, but `tree_mode::automatic` is a subreaper's tree where no cgroup is to be had,
// so that no daemon is lost. Not by one attempt with `tree_mode::cgroup` and another one: an
// observer would hear of a failure at each start.
template <class Token>
[[nodiscard]] auto async_spawn_whole_tree(command what, asio::any_io_executor executor,
                                          spawn_failure& failure, Token&& token)
{
    return asio::async_initiate<Token, void(error_code, child)>(
        [](auto handler, command moved, asio::any_io_executor io, spawn_failure* out) {
            start_spawn_whole_tree(std::move(moved), std::move(io), *out, std::move(handler));
        },
        token, std::move(what), std::move(executor), &failure);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

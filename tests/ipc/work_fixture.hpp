// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_IPC_WORK_FIXTURE_HPP
#define PROCYARD_TESTS_IPC_WORK_FIXTURE_HPP

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <procyard/ipc/work_queue.hpp>

#include "channel_fixture.hpp"

namespace procyard_test {

/// Runs a coroutine, and ends the queue after it: else it would keep run() from returning.
template <class T, class Coroutine>
void run_with(boost::asio::io_context& ctx, procyard::work_queue<T>& queue, Coroutine coroutine)
{
    run_coroutine(ctx, [&]() -> boost::asio::awaitable<void> {
        co_await coroutine();
        queue.stop();
    });
}

}  // namespace procyard_test

#endif

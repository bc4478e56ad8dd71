// SPDX-License-Identifier: BSL-1.0
#include "shutdown_target.hpp"

#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>

#include "child_core.hpp"
#include "pool_core.hpp"
#include "supervisor_core.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// The child alone is asked, not its tree as `polite` does: what it has started is its own to end,
// in its own order, and a descendant that takes a second SIGTERM for an order to go at once would
// get one from each of its ancestors. What is left when it has ended, or has had its time, is asked
// in the last fifth, and killed a tenth before the end, so that the tree can be seen to be empty.
class child_target final : public shutdown_target {
public:
    explicit child_target(std::shared_ptr<child_core> child) : child_(std::move(child)) { }

    [[nodiscard]] shutdown_leftover::kind kind() const noexcept override
    {
        return shutdown_leftover::kind::child;
    }
    [[nodiscard]] bool has_ended() const noexcept override { return child_->status().has_value(); }
    [[nodiscard]] asio::awaitable<shutdown_remains> stop(shutdown_step step) override
    {
        const auto time = step.remaining();
        auto ladder = stop_ladder{}
                          .close_stdin()
                          .signal(SIGTERM, time / 5 * 4, stop_scope::child)
                          .signal(SIGTERM, time / 10);
        ladder.clock = step.clock;
        asio::use_awaitable_t<> token;
        const auto stopped =
            co_await asio::async_initiate<asio::use_awaitable_t<>, void(error_code, stop_result)>(
                [](auto done, const std::shared_ptr<child_core>& child, stop_ladder rungs) {
                    start_child_stop(
                        child, std::move(rungs),
                        asio::bind_cancellation_slot(asio::cancellation_slot(), std::move(done)));
                },
                token, child_, std::move(ladder));
        shutdown_remains remains;
        remains.took = stopped.duration();
        if (stopped.forced())  // it did not stop, it was killed
            remains.left.push_back({kind(), {}});
        co_return remains;
    }
    void kill() noexcept override
    {
        error_code ignored;  // it is gone, or cannot be signalled
        child_->signal_tree(SIGKILL, ignored);
    }

private:
    std::shared_ptr<child_core> child_;
};

// The last tenth is for what has to be killed to be seen gone: with the whole, the coordinator
// would give it up in the same moment.
std::chrono::nanoseconds budget_of(const shutdown_step& step)
{
    return step.remaining() / 10 * 9;
}

// Of what has an executor of its own, from where alone it may be used.
//
// Where there is no memory to stop it, it is killed: a stop that throws, or that Asio has lost with
// its coroutine, is one that nobody repeats.
template <class Core>
class core_target : public shutdown_target {
public:
    explicit core_target(const std::shared_ptr<Core>& core) : core_(core), reserve_(new reserve) { }
    ~core_target() override { delete reserve_.load(); }

    [[nodiscard]] bool has_ended() const noexcept override { return core_.expired(); }
    [[nodiscard]] asio::awaitable<shutdown_remains> stop(shutdown_step step) override
    {
        auto core = core_.lock();
        if (!core)
            co_return shutdown_remains();
        const auto began = step.clock->now();
        killed_unless_told unfinished{*this};
        // Not kept here: if it is the last to go, it goes where it is used.
        const auto ex = core->executor();
        auto there = stop_there(std::move(core), budget_of(step));
        auto remains = co_await asio::co_spawn(
            ex, std::move(there),
            asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable));
        unfinished.is_told = true;
        remains.took = step.clock->now() - began;
        co_return remains;
    }
    void kill() noexcept override
    {
        if (try_to_kill())
            return;
        delete reserve_.exchange(nullptr);
        (void)try_to_kill();  // no memory all the same: what owns it kills it
    }

private:
    // Given back when there is no memory to say that somebody is to be killed.
    using reserve = std::array<std::byte, 1024>;

    struct killed_unless_told {
        core_target& target;
        bool is_told = false;
        ~killed_unless_told()
        {
            if (!is_told)
                target.kill();
        }
    };

    bool try_to_kill() noexcept
    {
        auto core = core_.lock();
        if (!core)
            return true;
        try {
            const auto ex = core->executor();
            asio::post(ex, [core = std::move(core)] {
                try {
                    kill_there(*core);
                } catch (const std::bad_alloc&) {
                    core->abandon();  // waits for nothing; takes some to tell who waits, if any
                }
            });
            return true;
        } catch (const std::exception&) {
            return false;
        }
    }

    static asio::awaitable<shutdown_remains> stop_there(std::shared_ptr<Core> core,
                                                        std::chrono::nanoseconds budget);
    static void kill_there(Core& core);

    std::weak_ptr<Core> core_;
    std::atomic<reserve*> reserve_;  // the stop may be lost while the coordinator gives it up
};

template <>
asio::awaitable<shutdown_remains>
core_target<supervisor_core>::stop_there(std::shared_ptr<supervisor_core> core,
                                         std::chrono::nanoseconds budget)
{
    auto token = asio::as_tuple(asio::use_awaitable);
    const auto [ec, result] =
        co_await asio::async_initiate<decltype(token), void(error_code, supervisor_result)>(
            [](auto done, const std::shared_ptr<supervisor_core>& it,
               std::chrono::nanoseconds most) {
                it->wait(std::move(done));
                it->stop(most);
            },
            token, core, budget);
    shutdown_remains remains;
    if (ec)  // it has been destroyed
        co_return remains;
    for (const auto& name : result.left)
        remains.left.push_back({shutdown_leftover::kind::service, name});
    if (result.failed)
        remains.failure = "it has given up: " + result.culprit;
    co_return remains;
}

template <>
void core_target<supervisor_core>::kill_there(supervisor_core& core)
{
    core.stop(std::chrono::nanoseconds::zero());
}

template <>
asio::awaitable<shutdown_remains>
core_target<pool_core>::stop_there(std::shared_ptr<pool_core> core, std::chrono::nanoseconds budget)
{
    auto token = asio::as_tuple(asio::use_awaitable);
    const auto [ec] = co_await asio::async_initiate<decltype(token), void(error_code)>(
        [](auto done, const std::shared_ptr<pool_core>& it, std::chrono::nanoseconds most) {
            it->stop(most, std::move(done));
        },
        token, core, budget);
    shutdown_remains remains;
    if (!ec && core->was_cut_short())
        remains.left.push_back({shutdown_leftover::kind::pool, {}});
    co_return remains;
}

template <>
void core_target<pool_core>::kill_there(pool_core& core)
{
    core.stop(std::chrono::nanoseconds::zero(), [](const error_code&) { });
}

class supervisor_target final : public core_target<supervisor_core> {
public:
    using core_target::core_target;
    [[nodiscard]] shutdown_leftover::kind kind() const noexcept override
    {
        return shutdown_leftover::kind::supervisor;
    }
};

class pool_target final : public core_target<pool_core> {
public:
    using core_target::core_target;
    [[nodiscard]] shutdown_leftover::kind kind() const noexcept override
    {
        return shutdown_leftover::kind::pool;
    }
};

}  // namespace

std::shared_ptr<shutdown_target> make_child_target(std::shared_ptr<child_core> child)
{
    return std::make_shared<child_target>(std::move(child));
}

std::shared_ptr<shutdown_target>
make_supervisor_target(const std::shared_ptr<supervisor_core>& core)
{
    return std::make_shared<supervisor_target>(core);
}

std::shared_ptr<shutdown_target> make_pool_target(const std::shared_ptr<pool_core>& core)
{
    return std::make_shared<pool_target>(core);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

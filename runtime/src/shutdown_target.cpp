// SPDX-License-Identifier: BSL-1.0
#include "shutdown_target.hpp"

#include <signal.h>

#include <boost/asio/post.hpp>
#include <boost/system/errc.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>

#include "child_core.hpp"
#include "context_gate.hpp"
#include "far_wait.hpp"
#include "pool_core.hpp"
#include "supervisor_core.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using promise = std::shared_ptr<far_promise<shutdown_remains>>;

// Whatever becomes of it: in the other context there is nobody to catch anything.
template <class Look>
void keep(const promise& told, Look look)
{
    try {
        shutdown_remains remains;
        look(remains);
        told->keep(std::move(remains));
    } catch (...) {
        told->break_it(std::current_exception());
    }
}

// Where there is no memory to stop it, it is killed: a stop that throws, or that Asio has lost with
// its coroutine, is one that nobody repeats.
struct killed_unless_begun {
    shutdown_target& target;
    bool is_begun = false;
    ~killed_unless_begun()
    {
        if (!is_begun)
            target.kill();
    }
};

// The child alone is asked, not its tree as `polite` does: what it has started is its own to end,
// in its own order, and a descendant that takes a second SIGTERM for an order to go at once would
// get one from each of its ancestors. What is left when it has ended, or has had its time, is asked
// in the last fifth, and killed a tenth before the end, so that the tree can be seen to be empty.
//
// Weak, and through the gate: one that has ended is nobody's but its handle's, and has executors,
// whose strands go with its context. Kept here it would outlive them. What a child has left behind
// that has ended, and that nobody holds, is not looked after: its drop policy let it go.
class child_target final : public shutdown_target {
public:
    explicit child_target(const std::shared_ptr<child_core>& child)
        : child_(child),
          gate_(context_gate::of(child->executor))
    {
    }

    [[nodiscard]] shutdown_leftover::kind kind() const noexcept override
    {
        return shutdown_leftover::kind::child;
    }
    [[nodiscard]] bool has_ended() const noexcept override
    {
        bool lives = false;
        use([&lives](const auto& child) { lives = !child->status(); });
        return !lives;
    }
    [[nodiscard]] asio::awaitable<shutdown_remains> stop(shutdown_step step) override
    {
        killed_unless_begun unfinished{*this};
        const auto time = step.remaining();
        auto ladder = stop_ladder{}
                          .close_stdin()
                          .signal(SIGTERM, time / 5 * 4, stop_scope::child)
                          .signal(SIGTERM, time / 10);
        ladder.clock = step.clock;
        co_return co_await wait_afar<shutdown_remains>(
            [this, &ladder](const promise& told) {
                use([&](const auto& child) {
                    start_child_stop(child, std::move(ladder),
                                     [told](const error_code&, const stop_result& stopped) {
                                         keep(told,
                                              [&](auto& remains) { describe(stopped, remains); });
                                     });
                });
            },
            &unfinished.is_begun);
    }
    void kill() noexcept override
    {
        error_code ignored;  // it is gone, or cannot be signalled
        try {
            use([&ignored](const auto& child) { child->signal_tree(SIGKILL, ignored); });
        } catch (const std::bad_alloc&) {
            // Only of one that has ended: whom it has left behind nobody can look for.
            ignored = make_error_code(boost::system::errc::not_enough_memory);
        }
    }

private:
    // If it is still there. Inside it is let go of, too: it may be the last reference.
    template <class Function>
    void use(Function what) const
    {
        const auto inside = gate_->enter();
        if (const auto child = inside ? child_.lock() : nullptr)
            what(child);
    }
    static void describe(const stop_result& stopped, shutdown_remains& remains)
    {
        remains.took = stopped.duration();
        if (stopped.forced())  // it did not stop, it was killed
            remains.left.push_back({shutdown_leftover::kind::child, {}});
    }

    std::weak_ptr<child_core> child_;
    std::shared_ptr<context_gate> gate_;
};

// The last tenth is for what has to be killed to be seen gone: with the whole, the coordinator
// would give it up in the same moment.
std::chrono::nanoseconds budget_of(const shutdown_step& step)
{
    return step.remaining() / 10 * 9;
}

// Of what has an executor of its own, from where alone it may be used.
template <class Core>
class core_target : public shutdown_target {
public:
    explicit core_target(const std::shared_ptr<Core>& core)
        : core_(core),
          gate_(context_gate::of(core->executor())),
          reserve_(new reserve)
    {
    }
    ~core_target() override { delete reserve_.load(); }

    [[nodiscard]] bool has_ended() const noexcept override { return core_.expired(); }
    [[nodiscard]] asio::awaitable<shutdown_remains> stop(shutdown_step step) override
    {
        const auto began = step.clock->now();
        const auto most = budget_of(step);
        killed_unless_begun unfinished{*this};
        auto remains = co_await wait_afar<shutdown_remains>(
            [this, most](const promise& told) {
                post_there([told, most](const std::shared_ptr<Core>& core) {
                    // What is stopped half is killed, also where nobody waits any more.
                    try {
                        stop_there(core, most, told);
                    } catch (...) {
                        told->break_it(std::current_exception());
                        kill_or_abandon(*core);
                    }
                });
            },
            &unfinished.is_begun);
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

    bool try_to_kill() noexcept
    {
        try {
            post_there([](const std::shared_ptr<Core>& core) { kill_or_abandon(*core); });
            return true;
        } catch (const std::exception&) {
            return false;
        }
    }
    // If it is still there, and as long as its context is.
    template <class Function>
    void post_there(Function what)
    {
        const auto inside = gate_->enter();
        auto core = inside ? core_.lock() : nullptr;
        if (!core)
            return;
        const auto ex = core->executor();
        // Not kept here: if it is the last to go, it goes where it is used.
        asio::post(ex, [core = std::move(core), what = std::move(what)] { what(core); });
    }
    static void kill_or_abandon(Core& core)
    {
        try {
            kill_there(core);
        } catch (const std::bad_alloc&) {
            core.abandon();  // waits for nothing; takes some to tell who waits, if any
        }
    }

    static void stop_there(const std::shared_ptr<Core>& core, std::chrono::nanoseconds budget,
                           const promise& told);
    static void kill_there(Core& core);

    std::weak_ptr<Core> core_;
    std::shared_ptr<context_gate> gate_;
    std::atomic<reserve*> reserve_;  // the stop may be lost while the coordinator gives it up
};

template <>
void core_target<supervisor_core>::stop_there(const std::shared_ptr<supervisor_core>& core,
                                              std::chrono::nanoseconds budget, const promise& told)
{
    core->wait([told](const error_code& ec, const supervisor_result& result) {
        keep(told, [&](auto& remains) {
            if (ec)  // it has been destroyed
                return;
            for (const auto& name : result.left)
                remains.left.push_back({shutdown_leftover::kind::service, name});
            if (result.failed)
                remains.failure = "it has given up: " + result.culprit;
        });
    });
    core->stop(budget);
}

template <>
void core_target<supervisor_core>::kill_there(supervisor_core& core)
{
    core.stop(std::chrono::nanoseconds::zero());
}

template <>
void core_target<pool_core>::stop_there(const std::shared_ptr<pool_core>& core,
                                        std::chrono::nanoseconds budget, const promise& told)
{
    core->stop(budget, [told, core](const error_code& ec) {
        keep(told, [&](auto& remains) {
            if (!ec && core->was_cut_short())
                remains.left.push_back({shutdown_leftover::kind::pool, {}});
        });
    });
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

std::shared_ptr<shutdown_target> make_child_target(const std::shared_ptr<child_core>& child)
{
    return std::make_shared<child_target>(child);
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

// SPDX-License-Identifier: BSL-1.0
//
// A shutdown of what lives in another context, of which either may go first.
#include <procyard/runtime/shutdown.hpp>

#include <signal.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <procyard/runtime/process_pool.hpp>
#include <procyard/runtime/spawn.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "pool_fixture.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

void poll(asio::io_context& ctx)
{
    ctx.restart();
    ctx.poll();
}

// Something in a context of its own that takes as long to stop as the test likes.
class target {
public:
    target() = default;
    target(const target&) = delete;
    target& operator=(const target&) = delete;
    virtual ~target() = default;

    [[nodiscard]] virtual asio::io_context& context() = 0;
    virtual void add_to(shutdown_coordinator& stop) = 0;
    virtual void let_end() = 0;
    [[nodiscard]] virtual bool has_ended() = 0;
};

class supervisor_there final : public target {
public:
    supervisor_there()
    {
        f.it().add(service("deaf", [this](service_context) { return deaf_until_said(&moment); }));
        f.it().start();
        f.until("deaf", service_state::ready);
        f.it().async_wait(over.handler());
    }
    asio::io_context& context() override { return f.ctx; }
    void add_to(shutdown_coordinator& stop) override { stop.add_supervisor("it", f.it()); }
    void let_end() override { moment.cancel(); }
    bool has_ended() override { return over.done(); }

private:
    supervised f{};
    asio::steady_timer moment{f.ctx, asio::steady_timer::time_point::max()};
    outcome<error_code, supervisor_result> over{};
};

class pool_there final : public target {
public:
    pool_there()
    {
        f.must_start();
        f.submit(make_work("gate", 0, gate.path())).detach();
        f.until([&] { return gate.is_reached(); });
    }
    ~pool_there() override { gate.open(); }
    asio::io_context& context() override { return f.ctx; }
    void add_to(shutdown_coordinator& stop) override { stop.add_pool("it", *f.it); }
    void let_end() override { gate.open(); }
    bool has_ended() override { return f.it->workers().empty(); }

private:
    temporary_directory where{};
    pool_gate gate{(where.path() / "gate").string()};
    pooled f{};
};

enum class runs_in { context, strand };

asio::any_io_executor executor_of(asio::io_context& ctx, runs_in where)
{
    if (where == runs_in::strand)
        return asio::make_strand(ctx);
    return ctx.get_executor();
}

template <runs_in where>
class child_there final : public target {
public:
    child_there()
        : deaf(spawn(
              command::shell("trap '' TERM; echo ready; exec sleep 1000").std_out(stdio::pipe()),
              executor_of(ctx, where)))
    {
        CHECK(read_line(ctx, deaf.std_out()) == "ready");
    }
    asio::io_context& context() override { return ctx; }
    void add_to(shutdown_coordinator& stop) override { stop.add_child("it", deaf); }
    void let_end() override { deaf.signal(SIGKILL); }
    bool has_ended() override { return deaf.try_wait().has_value(); }

private:
    asio::io_context ctx{};
    child deaf;
};

template <runs_in where>
class part_there final : public target {
public:
    part_there()
    {
        part.on(shutdown_phase::drain, "deaf", [this] { return deaf_until_said(&moment); });
        part.async_wait(over.handler());
    }
    asio::io_context& context() override { return ctx; }
    void add_to(shutdown_coordinator& stop) override { stop.add_part("it", part); }
    void let_end() override { moment.cancel(); }
    bool has_ended() override { return over.done(); }

private:
    static shutdown_options timeless()
    {
        shutdown_options options;
        options.clock = std::make_shared<manual_clock>();
        return options;
    }

    asio::io_context ctx{};
    asio::steady_timer moment{ctx, asio::steady_timer::time_point::max()};
    shutdown_coordinator part{executor_of(ctx, where), timeless()};
    outcome<error_code, shutdown_report> over{};
};

// A coordinator in a context of its own, in a strand. Its time stands still.
class shutdown_here {
public:
    explicit shutdown_here(target& what)
    {
        what.add_to(*stop);
        stop->on(shutdown_phase::announce, "owner",
                 [kept = token]() -> asio::awaitable<void> { co_return; });
        stop->async_wait(ended.handler());
    }

    // Until there is nothing to do but to wait for the target.
    void begin()
    {
        stop->request();
        poll(*ctx);
        REQUIRE_FALSE(ended.done());
    }
    void let_go()
    {
        stop.reset();
        ctx.reset();
    }
    // All that was the coordinator's.
    [[nodiscard]] bool has_gone() const { return token.use_count() == 1; }

    std::optional<asio::io_context> ctx{std::in_place};
    std::shared_ptr<int> token = std::make_shared<int>(0);
    outcome<error_code, shutdown_report> ended{};
    std::optional<shutdown_coordinator> stop{std::in_place, asio::make_strand(*ctx), timeless()};

private:
    static shutdown_options timeless()
    {
        shutdown_options options;
        options.clock = std::make_shared<manual_clock>();
        options.budget = 10h;
        return options;
    }
};

struct target_kind {
    const char* name;
    std::unique_ptr<target> (*make)();
};

template <class Target>
std::unique_ptr<target> make()
{
    return std::make_unique<Target>();
}

const std::vector<target_kind> all_kinds{{"supervisor", &make<supervisor_there>},
                                         {"pool", &make<pool_there>},
                                         {"child", &make<child_there<runs_in::context>>},
                                         {"child, strand", &make<child_there<runs_in::strand>>},
                                         {"part", &make<part_there<runs_in::context>>},
                                         {"part, strand", &make<part_there<runs_in::strand>>}};

template <class Test>
void for_each_kind(Test test)
{
    for (const auto& kind : all_kinds) {
        CAPTURE(std::string(kind.name));
        test(kind.make());
    }
}

// Of children: the last that goes of what is known of one.
std::ptrdiff_t open_pidfds()
{
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return std::count_if(begin(all), end(all), [](const auto& one) {
        std::error_code closed;  // that which reads the directory
        return read_symlink(one.path(), closed).native() == "anon_inode:[pidfd]";
    });
}

}  // namespace

TEST_SUITE("shutdown_coordinator: contexts")
{
    TEST_CASE("its context may go while what it stops in another one has not ended")
    {
        for_each_kind([](std::unique_ptr<target> there) {
            shutdown_here here(*there);
            here.begin();
            poll(there->context());
            here.let_go();
            CHECK(here.has_gone());
            there->let_end();
            run_until(there->context(), [&] { return there->has_ended(); });
            poll(there->context());
        });
    }

    TEST_CASE("its context may go before what it stops in another one has heard of it")
    {
        for_each_kind([](std::unique_ptr<target> there) {
            shutdown_here here(*there);
            here.begin();
            here.let_go();
            CHECK(here.has_gone());
            poll(there->context());
            there->let_end();
            run_until(there->context(), [&] { return there->has_ended(); });
        });
    }

    TEST_CASE("its context may go before that of what it stops, which never runs again")
    {
        for_each_kind([](std::unique_ptr<target> there) {
            shutdown_here here(*there);
            here.begin();
            poll(there->context());
            here.let_go();
            there.reset();
            CHECK(here.has_gone());
        });
    }

    TEST_CASE("its context may go with the end of what it stops on its way to it")
    {
        for_each_kind([](std::unique_ptr<target> there) {
            shutdown_here here(*there);
            here.begin();
            poll(there->context());
            there->let_end();
            run_until(there->context(), [&] { return there->has_ended(); });
            poll(there->context());
            here.let_go();
            CHECK(here.has_gone());
        });
    }

    TEST_CASE("what goes with its context while it is stopped is waited for no longer")
    {
        for_each_kind([](std::unique_ptr<target> there) {
            shutdown_here here(*there);
            here.begin();
            poll(there->context());
            there.reset();
            run_until(*here.ctx, [&] { return here.ended.done(); });
            INFO(here.ended.result());
            CHECK(here.ended.result().clean());
            here.let_go();
            CHECK(here.has_gone());
        });
    }

    TEST_CASE("what went with its context before it was stopped is nobody's concern")
    {
        for_each_kind([](std::unique_ptr<target> there) {
            shutdown_here here(*there);
            there.reset();
            here.stop->request();
            run_until(*here.ctx, [&] { return here.ended.done(); });
            INFO(here.ended.result());
            CHECK(here.ended.result().clean());
        });
    }

    TEST_CASE("nothing is kept of what went with its context")
    {
        enum class stage { added, asked, ended };
        const auto before = open_pidfds();
        for (const auto reached : {stage::added, stage::asked, stage::ended}) {
            CAPTURE(static_cast<int>(reached));
            for_each_kind([&](std::unique_ptr<target> there) {
                shutdown_here here(*there);
                if (reached != stage::added) {
                    here.begin();
                    poll(there->context());
                }
                if (reached == stage::ended) {
                    there->let_end();
                    run_until(there->context(), [&] { return there->has_ended(); });
                }
                there.reset();
                CHECK(open_pidfds() == before);
            });
        }
    }

    TEST_CASE("what goes with its context before it has heard of its stop is waited for no longer")
    {
        for_each_kind([](std::unique_ptr<target> there) {
            shutdown_here here(*there);
            here.begin();
            there.reset();
            run_until(*here.ctx, [&] { return here.ended.done(); });
            INFO(here.ended.result());
            CHECK(here.ended.result().clean());
        });
    }

    TEST_CASE("its context may go in the moment in which what it stops ends in another thread")
    {
        for (int round = 0; round < 50; ++round) {
            CAPTURE(round);
            supervisor_there there;
            shutdown_here here(there);
            here.begin();
            poll(there.context());
            std::promise<void> begun;
            const auto lets_go = std::async(std::launch::async, [&] {
                begun.set_value();
                here.let_go();
            });
            begun.get_future().wait();
            there.let_end();
            run_until(there.context(), [&] { return there.has_ended(); });
            lets_go.wait();
            CHECK(here.has_gone());
        }
    }

    TEST_CASE("what it stops may go with its context in the moment in which it is told to")
    {
        for (int round = 0; round < 50; ++round) {
            CAPTURE(round);
            std::unique_ptr<target> there = std::make_unique<supervisor_there>();
            shutdown_here here(*there);
            std::promise<void> begun;
            const auto goes = std::async(std::launch::async, [&] {
                begun.set_value();
                there.reset();
            });
            begun.get_future().wait();
            here.stop->request();
            run_until(*here.ctx, [&] { return here.ended.done(); });
            CHECK(here.ended.result().clean());
            goes.wait();
        }
    }
}

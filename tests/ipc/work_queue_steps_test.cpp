// SPDX-License-Identifier: BSL-1.0
// kill -9 between two machine instructions of a work queue's consumer: what it had is done, or goes
// to the next one. (stepped_walk.hpp says which instructions.)
#include <procyard/ipc/work_queue.hpp>

#include <boost/asio/io_context.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "numbered_messages.hpp"
#include "shared_array.hpp"
#include "single_step.hpp"
#include "stepped_walk.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::leased;
using procyard::work_queue;
using procyard::work_source;
using procyard_test::finish_here;
using procyard_test::is_numbered;
using procyard_test::kill_everywhere;
using procyard_test::numbered;
using procyard_test::outcome;
using procyard_test::poll_until_done;
using procyard_test::run_until;
using procyard_test::single_stepped;
using procyard_test::step_marks;
using procyard_test::stop_here;
using procyard_test::walk;
using procyard_test::walk_and_kill;
using procyard_test::whole;

namespace {

constexpr std::uint64_t items = 2;

// Of an item, what its consumer has noted before it was killed.
enum note : std::size_t { had, has_answered, notes };
using notebook = procyard_test::shared_array<unsigned>;

enum class answer : std::uint8_t { acknowledge, reject, close };

// Takes one item, and answers for it.
void consume(work_source<whole>& from, answer how, asio::io_context& ctx, step_marks& marks,
             const notebook& noted)
{
    outcome<error_code, leased<whole>> taken;
    from.async_take(taken.handler());
    ctx.poll();
    poll_until_done(ctx, marks, taken);
    if (!taken.done() || taken.error() || !is_numbered(taken.result().value(), 0))
        return;
    noted[had].store(1);
    error_code ec;
    switch (how) {
    case answer::acknowledge: (void)taken.result().acknowledge(ec); break;
    case answer::reject: (void)taken.result().reject(ec); break;
    case answer::close: from.close(); break;
    }
    noted[has_answered].store(1);
}

// What is left is for another consumer. Which items it has had, and how often they had been tried.
std::array<unsigned, items> take_the_rest(asio::io_context& ctx, work_queue<whole>& queue)
{
    std::array<unsigned, items> attempts{};
    work_source<whole> heir(ctx.get_executor(), queue.consumer());
    while (queue.statistics().done < items) {
        outcome<error_code, leased<whole>> taken;
        heir.async_take(taken.handler());
        run_until(ctx, [&] { return taken.done(); });
        REQUIRE_FALSE(taken.error());
        auto& item = taken.result();
        const auto number = item.value().words[0];
        REQUIRE(number < items);
        REQUIRE(is_numbered(item.value(), number));
        REQUIRE(attempts[number] == 0);
        attempts[number] = item.attempt();
        const auto done = queue.statistics().done;
        REQUIRE(item.acknowledge());
        run_until(ctx, [&] { return queue.statistics().done > done; });
    }
    return attempts;
}

// How many items the consumer has done: none or one.
std::optional<std::uint64_t> kill_after(std::size_t limit, answer how, walk& known)
{
    const procyard_test::descriptor_check no_leak;
    asio::io_context ctx;
    work_queue<whole> queue(ctx.get_executor(), {.channels = {.capacity_bytes = 4096}});
    error_code ec;
    for (std::uint64_t n = 0; n < items; ++n)
        REQUIRE(queue.try_push(numbered<whole>(n), ec));
    auto end = queue.consumer();
    const notebook noted(notes);
    single_stepped copy([&](step_marks& marks) {
        asio::io_context there;
        work_source<whole> from(there.get_executor(), std::move(end));
        stop_here();
        consume(from, how, there, marks, noted);
        return finish_here(marks);
    });
    if (!copy.reach_stop())
        return std::nullopt;
    end = {};
    ctx.poll();  // meets it
    const auto act = [&] {
        run_until(ctx, [&] { return queue.statistics().leased == 1; });
        ctx.restart();
        ctx.poll();
    };
    if (!walk_and_kill(copy, limit, known, act))
        return 0;
    run_until(ctx, [&] { return queue.statistics().consumers == 0; });
    REQUIRE(queue.statistics().leased == 0);
    const auto done = queue.statistics().done;
    const bool was_had = noted[had].load() != 0;
    if (how == answer::acknowledge) {
        REQUIRE((done == 0 || was_had));
        if (noted[has_answered].load() != 0)
            REQUIRE(done == 1);
    } else {
        REQUIRE(done == 0);
    }
    const auto attempts = take_the_rest(ctx, queue);
    // Done by the one or by the other: what the queue has counted as done came to nobody else.
    REQUIRE((attempts[0] != 0) == (done == 0));
    if (was_had && attempts[0] != 0)
        REQUIRE(attempts[0] == 2);
    REQUIRE(attempts[1] == 1);
    return done;
}

void kill(answer how, std::uint64_t done)
{
    kill_everywhere([&](std::size_t limit, walk& known) { return kill_after(limit, how, known); },
                    done);
}

}  // namespace

TEST_SUITE("work_queue: a consumer killed between two instructions (cases 12, 30)")
{
    TEST_CASE("of taking an item and acknowledging it: done once, by it or by the next one")
    {
        kill(answer::acknowledge, 1);
    }

    TEST_CASE("of taking an item and giving it back: the next one has it")
    {
        kill(answer::reject, 0);
    }

    TEST_CASE("of taking an item and closing: the next one has it")
    {
        kill(answer::close, 0);
    }
}

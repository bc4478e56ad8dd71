// SPDX-License-Identifier: BSL-1.0
#include "log_queue.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

using procyard::full_log;
using procyard::log_batch;
using procyard::log_options;
using procyard::service_output;
using procyard::detail::log_queue;

namespace {

// "3 lost: one, e:two"
std::string text_of(const log_batch& batch)
{
    std::string text = batch.lost > 0 ? std::to_string(batch.lost) + " lost: " : "";
    bool first = true;
    for (const auto& line : batch.lines) {
        text += first ? "" : ", ";
        text += line.from == service_output::err ? "e:" : "";
        text += line.text;
        first = false;
    }
    return text;
}

constexpr std::size_t room_for(std::size_t lines, std::size_t each)
{
    return lines * (each + log_queue::cost_of_line);
}

}  // namespace

TEST_SUITE("log_queue")
{
    TEST_CASE("hands out what was pushed, in order, once")
    {
        log_queue queue({});
        CHECK(queue.empty());
        queue.push(service_output::out, "one");
        queue.push(service_output::err, "");
        queue.push(service_output::out, "three");
        CHECK_FALSE(queue.empty());
        CHECK(text_of(queue.take()) == "one, e:, three");
        CHECK(queue.empty());
        CHECK(text_of(queue.take()).empty());
        queue.push(service_output::out, "four");
        CHECK(text_of(queue.take()) == "four");
        CHECK(queue.lost() == 0);
    }

    TEST_CASE("without room the oldest go, and are counted once in the next batch")
    {
        log_queue queue({.most_bytes = room_for(3, 1)});
        for (const char* const line : {"a", "b", "c", "d", "e"})
            queue.push(service_output::out, line);
        CHECK(queue.lost() == 2);
        CHECK(text_of(queue.take()) == "2 lost: c, d, e");
        queue.push(service_output::out, "f");
        CHECK(text_of(queue.take()) == "f");
        CHECK(queue.lost() == 2);
    }

    TEST_CASE("a long line costs several short ones; one that never fits costs itself alone")
    {
        log_queue queue({.most_bytes = room_for(3, 1)});
        queue.push(service_output::out, "a");
        queue.push(service_output::out, "b");
        queue.push(service_output::out, std::string(room_for(3, 1), 'x'));
        CHECK(queue.lost() == 1);
        queue.push(service_output::out, std::string(room_for(3, 1) - log_queue::cost_of_line, 'y'));
        CHECK(queue.lost() == 3);
        CHECK(queue.take().lines.front().text.front() == 'y');
    }

    TEST_CASE("a batch that got nowhere, and what is left at the end, are lost")
    {
        log_queue queue({});
        queue.push(service_output::out, "a");
        queue.push(service_output::out, "b");
        CHECK(queue.take().lines.size() == 2);
        queue.push(service_output::out, "c");
        queue.lose_taken();
        queue.lose_taken();
        CHECK(queue.lost() == 2);
        CHECK(text_of(queue.take()) == "c");
        queue.push(service_output::out, "d");
        queue.lose_all();
        CHECK(queue.empty());
        CHECK(queue.lost() == 3);
    }

    TEST_CASE("one that blocks keeps what may wait, and is full then")
    {
        log_queue queue({.most_bytes = room_for(1, 1), .when_full = full_log::block});
        CHECK(queue.blocks());
        CHECK_FALSE(queue.full());
        queue.push(service_output::out, "a");
        CHECK(queue.full());
        queue.push(service_output::out, std::string(1000, 'x'));
        CHECK(queue.take().lines.size() == 2);
        CHECK_FALSE(queue.full());
        CHECK(queue.lost() == 0);
        // Incarnations that end again and again fill no memory.
        for (std::size_t i = 0; i < 3 * log_queue::left_behind / 65536; ++i)
            queue.push(service_output::out, std::string(65536, 'x'));
        CHECK(queue.lost() > 0);
    }

    TEST_CASE("at random: what was pushed is handed out or lost, in order, within the bound")
    {
        std::mt19937 random(7);
        const auto pick = [&](std::size_t below) { return random() % below; };
        constexpr std::size_t most = 4096;
        log_queue queue({.most_bytes = most});
        std::uint64_t pushed = 0;
        std::uint64_t seen = 0;
        std::uint64_t last = 0;
        for (int i = 0; i < 200'000; ++i) {
            if (pick(60) != 0) {
                ++pushed;
                queue.push(service_output::out,
                           std::to_string(pushed) + ' ' + std::string(pick(300), 'x'));
                continue;
            }
            const auto batch = queue.take();
            std::size_t bytes = 0;
            for (const auto& line : batch.lines) {
                const auto number = std::stoull(std::string(line.text));
                REQUIRE(number > last);
                last = number;
                bytes += line.text.size() + log_queue::cost_of_line;
            }
            REQUIRE(bytes <= most);
            seen += batch.lines.size();
            REQUIRE(seen + queue.lost() == pushed);
        }
        CHECK(queue.lost() > 0);
    }
}

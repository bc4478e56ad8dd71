// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/frame_queue.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "message_samples.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::framed_errc;
using cancellation = asio::cancellation_type;

namespace {

// Waiters are letters; what has ended is shown as "a:ok b:aborted".
class script {
public:
    std::uint64_t push(char name, const std::string& text)
    {
        const auto bytes = std::as_bytes(std::span(text));
        return queue.push({bytes.begin(), bytes.end()}, name);
    }
    std::string gather()
    {
        std::string text;
        for (const auto& each : queue.gather())
            text.append(static_cast<const char*>(each.data()), each.size());
        return text;
    }
    std::string written(std::size_t n, const error_code& ec = {})
    {
        ended.clear();
        queue.written(n, ec, ended);
        return show();
    }
    // With "stop" in front when the write has to be stopped.
    std::string cancel(std::uint64_t id, cancellation how)
    {
        ended.clear();
        const bool stop = queue.cancel(id, how, ended);
        return (stop ? "stop" : "") + show();
    }
    std::string abandon()
    {
        ended.clear();
        queue.abandon(ended);
        return show();
    }

    procyard::detail::frame_queue<char> queue;

private:
    std::string show() const
    {
        std::string text;
        for (const auto& each : ended) {
            if (!text.empty())
                text += ' ';
            text += each.waiter;
            text += !each.ec                                ? ":ok"
                : each.ec == asio::error::operation_aborted ? ":aborted"
                : each.ec == framed_errc::half_sent         ? ":half"
                                                            : ":failed";
        }
        return text;
    }

    std::vector<procyard::detail::frame_queue<char>::done> ended;
};

const error_code aborted = asio::error::operation_aborted;

}  // namespace

TEST_SUITE("frame_queue")
{
    TEST_CASE("frames share writes and end in order, with the write that has their last byte")
    {
        script s;
        s.push('a', "111");
        s.push('b', "22");
        s.push('c', "3");
        CHECK(s.gather() == "111223");
        CHECK(s.queue.in_flight());
        CHECK(s.written(4) == "a:ok");
        CHECK(s.gather() == "23");
        CHECK(s.written(2) == "b:ok c:ok");
        CHECK_FALSE(s.queue.waiting());
    }

    TEST_CASE("a write is of a bounded number of frames")
    {
        script s;
        for (int i = 0; i < 40; ++i)
            s.push('x', "1");
        CHECK(s.gather().size() == 16);
        s.written(16);
        CHECK(s.gather().size() == 16);
    }

    TEST_CASE("an empty frame is a place in the queue")
    {
        script s;
        s.push('a', "1");
        s.push('b', "");
        CHECK(s.gather() == "1");
        CHECK(s.written(1) == "a:ok b:ok");
        s.push('c', "");
        CHECK(s.gather().empty());
        CHECK(s.written(0) == "c:ok");
    }

    TEST_CASE("a frame of which nothing is out goes away as if it had never been there")
    {
        for (const auto how :
             {cancellation::total, cancellation::partial, cancellation::terminal}) {
            script s;
            s.push('a', "1");
            const auto b = s.push('b', "2");
            s.push('c', "3");
            s.gather();
            CHECK(s.cancel(b, how) == "stop");
            CHECK(s.written(0, aborted) == "b:aborted");
            CHECK(s.gather() == "13");
            CHECK(s.cancel(b, how).empty());
        }
    }

    TEST_CASE("a cancellation that comes when the write has done it all is late")
    {
        script s;
        const auto a = s.push('a', "1");
        s.gather();
        CHECK(s.cancel(a, cancellation::total) == "stop");
        CHECK(s.written(1) == "a:ok");
    }

    TEST_CASE("a frame that is out in part goes on, but a terminal cancellation does not wait")
    {
        script s;
        const auto a = s.push('a', "1234");
        s.push('b', "5");
        s.gather();
        s.written(1);
        CHECK(s.gather() == "2345");
        CHECK(s.cancel(a, cancellation::partial) == "stop");
        CHECK(s.written(1, {}).empty());
        CHECK(s.gather() == "345");
        CHECK(s.cancel(a, cancellation::total) == "stop");
        CHECK(s.written(0, aborted).empty());
        CHECK(s.gather() == "345");
        CHECK(s.cancel(a, cancellation::terminal) == "stop");
        CHECK(s.written(0, aborted) == "a:half");
        CHECK(s.gather() == "345");
        CHECK(s.written(3) == "b:ok");
    }

    TEST_CASE("the rest of a frame that nobody waits for is no work, and goes before the next one")
    {
        script s;
        const auto a = s.push('a', "1234");
        s.gather();
        CHECK(s.cancel(a, cancellation::terminal) == "stop");
        CHECK(s.written(2, aborted) == "a:half");
        CHECK_FALSE(s.queue.waiting());
        s.push('b', "5");
        CHECK(s.gather() == "345");
        CHECK(s.written(3) == "b:ok");
    }

    TEST_CASE("an error of the stream is everybody's")
    {
        script s;
        s.push('a', "12");
        s.push('b', "3");
        s.gather();
        CHECK(s.written(1, asio::error::broken_pipe) == "a:failed b:failed");
        CHECK_FALSE(s.queue.waiting());
        s.push('c', "4");
        CHECK(s.gather() == "24");
    }

    TEST_CASE("a write that somebody else has stopped ends all sends")
    {
        script s;
        s.push('a', "12");
        s.push('b', "3");
        s.gather();
        CHECK(s.written(1, aborted) == "a:half b:aborted");
    }

    TEST_CASE("when it is abandoned, the bytes of a write in flight stay until it ends")
    {
        script s;
        s.push('a', "12");
        const auto buffers = s.queue.gather();
        CHECK(s.abandon() == "a:aborted");
        CHECK(*static_cast<const char*>(buffers[0].data()) == '1');
        CHECK(s.written(0, aborted).empty());
        CHECK_FALSE(s.queue.waiting());
    }

    // Whatever is cancelled, and however the writes are cut: the peer gets whole frames, in order,
    // and exactly those whose senders were not told that nothing was sent.
    TEST_CASE("the peer sees whole frames, and none that was taken back")
    {
        using queue_type = procyard::detail::frame_queue<std::size_t>;
        for (std::uint64_t seed = 1; seed <= 300; ++seed) {
            procyard_test::fixed_random random(seed);
            queue_type queue;
            std::vector<std::string> frames;
            std::vector<std::optional<error_code>> outcomes;
            std::vector<std::uint64_t> ids;
            std::string seen;
            std::vector<queue_type::done> ended;
            const auto push = [&] {
                frames.push_back(std::string(random.below(4), '-') + std::to_string(ids.size()));
                outcomes.emplace_back();
                const auto bytes = std::as_bytes(std::span(frames.back()));
                ids.push_back(queue.push({bytes.begin(), bytes.end()}, ids.size()));
            };
            const auto write = [&](bool may_stop) {
                std::string all;
                for (const auto& each : queue.gather())
                    all.append(static_cast<const char*>(each.data()), each.size());
                bool stopped = false;
                const auto n = random.below(all.size() + 1);
                for (int i = 0; may_stop && i < 2; ++i)
                    if (random.below(2) == 0)
                        stopped |=
                            queue.cancel(ids[random.below(ids.size())],
                                         static_cast<cancellation>(1U << random.below(3)), ended);
                seen += all.substr(0, n);
                queue.written(n, stopped && n == 0 ? aborted : error_code(), ended);
            };
            for (int step = 0; step < 60; ++step) {
                if (random.below(2) == 0)
                    push();
                if (queue.waiting())
                    write(true);
            }
            push();
            while (queue.waiting())
                write(false);
            for (const auto& each : ended) {
                CHECK_FALSE(outcomes[each.waiter]);
                outcomes[each.waiter] = each.ec;
            }
            std::string expected;
            for (std::size_t i = 0; i < frames.size(); ++i) {
                REQUIRE(outcomes[i]);
                if (*outcomes[i] != aborted)
                    expected += frames[i];
            }
            CHECK(seen == expected);
        }
    }
}

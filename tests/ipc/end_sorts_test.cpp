// SPDX-License-Identifier: BSL-1.0
// A descriptor that is opened as an end of another kind: each as each.
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/system/system_error.hpp>

#include <sys/socket.h>

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/latest_value.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_socket.hpp>
#include <procyard/ipc/unopened.hpp>
#include <procyard/ipc/work_queue.hpp>
#include <procyard/ipc/work_source.hpp>

#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::latest_reader;
using procyard::receiver;
using procyard::sender;
using procyard::subscriber;
using procyard::unique_fd;
using procyard::unopened;
using procyard::work_source;
using procyard_test::descriptor_check;

namespace {

// Whose ends are opened, each of its own kind, and what their other sides are.
struct open_sides {
    asio::io_context ctx;
    procyard::unopened_channel<int> to_there = procyard::make_channel<int>();
    procyard::unopened_channel<int> from_there = procyard::make_channel<int>();
    sender<int> out{ctx.get_executor(), std::move(to_there.sender)};
    receiver<int> in{ctx.get_executor(), std::move(from_there.receiver)};
    procyard::broadcaster<int> broadcast{ctx.get_executor()};
    procyard::latest_value<int> latest{ctx.get_executor()};
    procyard::work_queue<int> queue{ctx.get_executor()};
};

struct given_end {
    std::string_view fits;   // the end that it is
    std::string_view there;  // what it is the other side of
    std::function<unique_fd(open_sides&)> take;
};

const std::vector<given_end>& given_ends()
{
    static const std::vector<given_end> all{
        {"a receiver", "a sender", [](auto& s) { return std::move(s.to_there.receiver).take(); }},
        {"a sender", "a receiver", [](auto& s) { return std::move(s.from_there.sender).take(); }},
        {"a subscriber", "a broadcast", [](auto& s) { return s.broadcast.subscribe().take(); }},
        {"a latest_reader", "a latest value", [](auto& s) { return s.latest.subscribe().take(); }},
        {"a work_source", "a work queue", [](auto& s) { return s.queue.consumer().take(); }},
    };
    return all;
}

struct opening {
    error_code ec;
    std::string explanation;
    std::string thrown;  // by the constructor that throws, or by nothing
};

template <class End>
opening open_as(open_sides& sides, const unique_fd& fd)
{
    opening told;
    error_code ignored;
    auto again = fd.duplicate(ignored);
    End end(sides.ctx.get_executor(), unopened<End>(fd.duplicate(ignored), {}), told.ec);
    if (!told.ec)
        told.ec = end.failure();
    told.explanation = end.explanation();
    try {
        const End another(sides.ctx.get_executor(), unopened<End>(std::move(again), {}));
    } catch (const boost::system::system_error& e) {
        told.thrown = e.what();
    }
    return told;
}

struct opener {
    std::string_view here;
    opening (*open)(open_sides&, const unique_fd&);
    error_code of_nothing;  // what it says of a descriptor in which nothing lies as yet
};

const std::vector<opener>& openers()
{
    static const std::vector<opener> all{
        {"a receiver", &open_as<receiver<int>>, {}},
        {"a sender", &open_as<sender<int>>, {}},
        {"a subscriber", &open_as<subscriber<int>>, channel_errc::bad_hello},
        {"a latest_reader", &open_as<latest_reader<int>>, channel_errc::bad_hello},
        {"a work_source", &open_as<work_source<int>>, channel_errc::already_taken},
    };
    return all;
}

bool has(const std::string& text, std::string_view part)
{
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("ends of another kind")
{
    TEST_CASE("each opened as each: what does not fit says what both are, what fits is opened")
    {
        for (const auto& given : given_ends()) {
            for (const auto& opener : openers()) {
                CAPTURE(given.fits);
                CAPTURE(opener.here);
                const descriptor_check no_leak;
                open_sides sides;
                const auto told = opener.open(sides, given.take(sides));
                const bool fits = given.fits == opener.here;
                CHECK_MESSAGE(told.ec == (fits ? error_code() : channel_errc::other_direction),
                              told.ec.message());
                const auto both =
                    "here " + std::string(opener.here) + ", there " + std::string(given.there);
                CHECK(told.explanation == (fits ? "" : both));
            }
        }
    }

    TEST_CASE("one that cannot be opened says so by what is thrown as well")
    {
        // An end of a channel can always be opened: its peer may come later.
        for (const auto& opener : openers()) {
            if (!opener.of_nothing)
                continue;
            CAPTURE(opener.here);
            open_sides sides;
            const auto told = opener.open(sides, given_ends().front().take(sides));
            // Of a consumer's end the first look takes what lies in it.
            CHECK_MESSAGE(has(told.thrown, opener.here), told.thrown);
        }
        open_sides sides;
        auto fd = given_ends().front().take(sides);
        CHECK_THROWS_WITH(work_source<int>(sides.ctx.get_executor(),
                                           unopened<work_source<int>>(std::move(fd), {})),
                          doctest::Contains("here a work_source, there a sender"));
    }

    TEST_CASE("a channel whose other end is not open can be anything, and is told apart by that")
    {
        for (const auto& opener : openers()) {
            CAPTURE(opener.here);
            const descriptor_check no_leak;
            open_sides sides;
            auto ends = procyard::make_channel<int>();
            const auto told = opener.open(sides, std::move(ends.receiver).take());
            CHECK_MESSAGE(told.ec == opener.of_nothing, told.ec.message());
            if (opener.of_nothing) {
                CHECK_MESSAGE(has(told.explanation, opener.here), told.explanation);
                CHECK_MESSAGE(has(told.explanation, "a channel whose other end is not"),
                              told.explanation);
            }
        }
    }

    TEST_CASE("one that is of no handshake at all is no other kind, and nothing is said of it")
    {
        for (const auto& opener : openers()) {
            for (const std::size_t size : {8U, 64U}) {
                CAPTURE(opener.here);
                CAPTURE(size);
                open_sides sides;
                error_code ec;
                auto ends = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
                REQUIRE(!ec);
                const std::vector<char> garbage(size, 'x');
                REQUIRE(::send(ends.first.get(), garbage.data(), size, 0)
                        == static_cast<ssize_t>(size));
                const auto told = opener.open(sides, ends.second);
                CHECK_MESSAGE(told.ec == channel_errc::bad_hello, told.ec.message());
                CHECK(told.explanation == "");
            }
        }
    }

    TEST_CASE("one whose other side has gone is no other kind")
    {
        for (const auto& opener : openers()) {
            if (!opener.of_nothing)
                continue;
            CAPTURE(opener.here);
            open_sides sides;
            auto ends = procyard::make_channel<int>();
            ends.sender = {};
            const auto told = opener.open(sides, std::move(ends.receiver).take());
            CHECK_MESSAGE(told.ec == opener.of_nothing, told.ec.message());
        }
    }
}

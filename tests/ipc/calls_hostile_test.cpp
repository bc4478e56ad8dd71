// SPDX-License-Identifier: BSL-1.0
// Peers that do not keep to the rules of calls: the stream is closed, and everybody is told.
#include <procyard/ipc/caller.hpp>
#include <procyard/ipc/responder.hpp>

#include <boost/asio/io_context.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "calls_fixture.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::call_errc;
using procyard::error_code;
using procyard::framed_errc;

namespace {

struct asking {
    asking() : peer(ctx), client(peer.pair.here)
    {
        peer.greet(2);
        for (auto& each : got)
            client.async_call("q", each.handler());
        REQUIRE(peer.heard(ctx).size() == 2);
    }

    // What becomes of all calls, and of the stream.
    error_code after(const text_answer& message)
    {
        peer.say(message);
        return ending();
    }
    error_code ending()
    {
        run(ctx);
        CHECK_FALSE(peer.pair.here.is_open());
        const auto ec = got[0].error();
        for (auto& each : got) {
            CHECK(each.count == 1);
            CHECK(each.error() == ec);
        }
        text_outcome later;
        client.async_call("q", later.handler());
        run(ctx);
        CHECK(later.error() == ec);
        return ec;
    }

    asio::io_context ctx;
    responder_by_hand peer;
    text_caller client;
    std::array<text_outcome, 3> got;  // two are open, one waits
};

struct answering {
    answering() : peer(ctx), server(peer.pair.here, {.max_open_calls = 2})
    {
        peer.greet();
        for (auto& each : next)
            server.async_next(each.handler());
    }

    error_code after(const std::vector<text_question>& messages)
    {
        for (const auto& each : messages)
            peer.say(each);
        return ending();
    }
    error_code ending()
    {
        run(ctx);
        CHECK_FALSE(peer.pair.here.is_open());
        for (auto& each : next)
            if (!each.error())
                CHECK(each.result().cancelled());
        return next.back().error();
    }

    asio::io_context ctx;
    caller_by_hand peer;
    text_responder server;
    std::array<next_outcome, 3> next;
};

text_question request(std::uint64_t id)
{
    return start_message{id, 0, "q"};
}

std::vector<std::byte> garbage_frame(std::size_t size, unsigned first, fixed_random& random)
{
    std::vector<std::byte> frame(procyard::detail::frame_header_bytes + size);
    for (auto& each : frame)
        each = static_cast<std::byte>(random.next());
    if (size != 0)
        frame[procyard::detail::frame_header_bytes] = static_cast<std::byte>(first);
    procyard::detail::seal_frame(frame, procyard::detail::frame_kind::message, {});
    return frame;
}

}  // namespace

TEST_SUITE("calls with a hostile peer")
{
    TEST_CASE("a responder that answers what was not asked")
    {
        for (const std::uint64_t id : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{99},
                                       std::numeric_limits<std::uint64_t>::max()}) {
            CHECK(asking().after(reply_message{id, "a"}) == call_errc::peer_broke_rules);
            CHECK(asking().after(refusal_message{id, 1, "a"}) == call_errc::peer_broke_rules);
            CHECK(asking().after(dropped_message{id}) == call_errc::peer_broke_rules);
        }
    }

    TEST_CASE("a responder that answers twice")
    {
        asking test;
        test.peer.say(reply_message{1, "a"});
        settle(test.ctx);
        CHECK(test.got[0].result() == "a");
        test.got[0] = test.got[1];
        test.peer.say(reply_message{1, "b"});
        run(test.ctx);
        CHECK(test.got[1].error() == call_errc::peer_broke_rules);
        CHECK(test.got[1].error() == boost::system::errc::protocol_error);
        CHECK(test.got[2].error() == call_errc::peer_broke_rules);
    }

    TEST_CASE("a responder that fails a call without an error")
    {
        CHECK(asking().after(refusal_message{1, 0, "all is well"}) == call_errc::peer_broke_rules);
    }

    TEST_CASE("a responder that allows no call, or changes its mind")
    {
        CHECK(asking().after(limit_message{5}) == call_errc::peer_broke_rules);

        asio::io_context ctx;
        responder_by_hand peer(ctx);
        text_caller client(peer.pair.here);
        text_outcome got;
        client.async_call("q", got.handler());
        peer.greet(0);
        run(ctx);
        CHECK(got.error() == call_errc::peer_broke_rules);
    }

    TEST_CASE("a responder that answers before it has said how many calls it bears")
    {
        asio::io_context ctx;
        responder_by_hand peer(ctx);
        text_caller client(peer.pair.here);
        text_outcome got;
        client.async_call("q", got.handler());
        peer.pair.put_hello<text_answer, text_question>();
        peer.say(reply_message{1, "a"});
        run(ctx);
        CHECK(got.error() == call_errc::peer_broke_rules);
    }

    TEST_CASE("a responder that sends garbage")
    {
        fixed_random random(5);
        for (unsigned kind = 4; kind < 256; kind += 50) {
            asking test;
            test.peer.pair.put(garbage_frame(40, kind, random));
            CHECK(test.ending() == framed_errc::malformed);
        }
        for (std::size_t size = 0; size < 9; ++size) {
            asking test;
            test.peer.pair.put(garbage_frame(size, 0, random));
            CHECK(test.ending() == framed_errc::malformed);
        }
        asking test;
        test.peer.pair.put(std::vector<std::byte>(100, std::byte{'x'}));
        CHECK(test.ending() == framed_errc::bad_frame);
        asking longer;
        longer.peer.pair.put({std::byte{'P'}, std::byte{'y'}, std::byte{2}, std::byte{0},
                              std::byte{255}, std::byte{255}, std::byte{255}, std::byte{255},
                              std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0}});
        CHECK(longer.ending() == framed_errc::too_long);
    }

    TEST_CASE("a caller that uses a number twice, goes back, or begins with none")
    {
        CHECK(answering().after({request(1), request(1)}) == call_errc::peer_broke_rules);
        CHECK(answering().after({request(2), request(1)}) == call_errc::peer_broke_rules);
        CHECK(answering().after({request(0)}) == call_errc::peer_broke_rules);
    }

    TEST_CASE("a caller that opens more calls than it may")
    {
        CHECK(answering().after({request(1), request(2), request(3)})
              == call_errc::peer_broke_rules);
    }

    TEST_CASE("a caller that cancels what it has not asked for")
    {
        CHECK(answering().after({withdrawal_message{1}}) == call_errc::peer_broke_rules);
        CHECK(answering().after({request(1), withdrawal_message{0}})
              == call_errc::peer_broke_rules);
        CHECK(answering().after({request(1), withdrawal_message{2}})
              == call_errc::peer_broke_rules);
    }

    TEST_CASE("a caller that cancels again and again is told nothing new")
    {
        answering test;
        test.peer.say(request(1));
        for (int i = 0; i < 1000; ++i) {
            test.peer.say(withdrawal_message{1});
            settle(test.ctx);
        }
        CHECK(test.server.statistics().cancelled == 1);
        CHECK(test.peer.pair.here.is_open());
    }

    TEST_CASE("a caller that sends garbage")
    {
        fixed_random random(6);
        for (unsigned kind = 2; kind < 256; kind += 50) {
            answering test;
            test.peer.pair.put(garbage_frame(40, kind, random));
            CHECK(test.ending() == framed_errc::malformed);
        }
        for (std::size_t size = 0; size < 17; ++size) {
            answering test;
            test.peer.pair.put(garbage_frame(size, 0, random));
            CHECK(test.ending() == framed_errc::malformed);
        }
        answering stopped;
        stopped.peer.pair.put({std::byte{'P'}, std::byte{'y'}});
        stopped.peer.pair.there.shutdown(socket_type::shutdown_send);
        CHECK(stopped.ending() == framed_errc::truncated);
    }

    TEST_CASE("random bytes in whole frames never do more than end the calls")
    {
        fixed_random random(8);
        for (int i = 0; i < 300; ++i) {
            asking client;
            answering server;
            for (int n = 0; n < 20; ++n) {
                const auto kind = static_cast<unsigned>(random.below(4));
                const auto size = random.below(30);
                error_code ignored;
                asio::write(client.peer.pair.there, asio::buffer(garbage_frame(size, kind, random)),
                            ignored);
                asio::write(server.peer.pair.there,
                            asio::buffer(garbage_frame(size, kind % 2, random)), ignored);
            }
            run(client.ctx);
            CHECK(client.got[2].done());
            client.peer.pair.there.close();
            settle(server.ctx);
            server.peer.pair.there.close();
            run(server.ctx);
            CHECK(server.next[2].done());
        }
    }
}

// SPDX-License-Identifier: BSL-1.0
// A caller and a responder, and peers that are driven by hand, for the tests of calls.
#ifndef PROCYARD_TESTS_IPC_CALLS_FIXTURE_HPP
#define PROCYARD_TESTS_IPC_CALLS_FIXTURE_HPP

#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/caller.hpp>
#include <procyard/ipc/framed.hpp>
#include <procyard/ipc/responder.hpp>

#include "framed_fixture.hpp"
#include "procyard_test.hpp"

namespace procyard_test {

using text_caller = procyard::caller<socket_type&, std::string, std::string>;
using text_responder = procyard::responder<socket_type&, std::string, std::string>;
using text_call = procyard::call<std::string, std::string>;
using text_outcome = outcome<procyard::error_code, std::string>;
using next_outcome = outcome<procyard::error_code, text_call>;

using text_question = procyard::detail::question<std::string>;
using text_answer = procyard::detail::answer<std::string>;
using start_message = procyard::detail::call_start<std::string>;
using withdrawal_message = procyard::detail::call_withdrawal;
using reply_message = procyard::detail::call_reply<std::string>;
using refusal_message = procyard::detail::call_refusal;
using dropped_message = procyard::detail::call_dropped;
using limit_message = procyard::detail::call_limit;

/// Runs what can run without anything new from outside.
inline void settle(boost::asio::io_context& ctx)
{
    ctx.restart();
    while (ctx.poll() != 0) { }
}

/// Both ends in this process.
struct both_sides {
    explicit both_sides(boost::asio::io_context& ctx, procyard::calls_options callers = {},
                        procyard::calls_options responders = {})
        : pair(ctx),
          client(pair.here, callers),
          server(pair.there, responders)
    {
    }

    procyard_test::sockets pair;
    text_caller client;
    text_responder server;
};

/// A responder that does what the test says: see `said`.
struct responder_by_hand {
    explicit responder_by_hand(boost::asio::io_context& ctx) : pair(ctx) { }

    void greet(std::uint32_t limit = 16)
    {
        pair.put_hello<text_answer, text_question>();
        say(limit_message{limit});
    }
    void say(const text_answer& message) { pair.put_message(message); }
    /// What the caller has sent since the last time, after its hello.
    std::vector<text_question> heard(boost::asio::io_context& ctx)
    {
        std::vector<text_question> all;
        settle(ctx);
        const auto bytes = pair.drain();
        got.insert(got.end(), bytes.begin(), bytes.end());
        procyard::detail::frame_buffer buffer(
            procyard::framed_options{.read_bytes = got.size() + 1});
        const auto room = buffer.prepare();
        std::copy(got.begin(), got.end(), static_cast<std::byte*>(room.data()));
        buffer.commit(got.size());
        procyard::error_code ec;
        for (auto frame = buffer.next(ec); frame; frame = buffer.next(ec)) {
            if (frame->kind == procyard::detail::frame_kind::hello)
                continue;
            text_question one;
            REQUIRE(procyard::decode_message(frame->payload, one));
            all.push_back(std::move(one));
        }
        got.erase(got.begin(), got.end() - static_cast<std::ptrdiff_t>(buffer.buffered()));
        return all;
    }

    procyard_test::sockets pair;
    std::vector<std::byte> got;  // that is no whole frame yet
};

/// A caller that does what the test says.
struct caller_by_hand {
    explicit caller_by_hand(boost::asio::io_context& ctx) : pair(ctx) { }

    void greet() { pair.put_hello<text_question, text_answer>(); }
    void say(const text_question& message) { pair.put_message(message); }

    procyard_test::sockets pair;
};

}  // namespace procyard_test

#endif

// SPDX-License-Identifier: BSL-1.0
// docs/calls.md: requests and replies over a stream.
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/redirect_error.hpp>

#include <cstdint>
#include <string>
#include <utility>

#include <procyard/ipc/caller.hpp>
#include <procyard/ipc/responder.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "guide.hpp"

// [types]
struct lookup {
    std::string word;
};
struct meaning {
    std::string text;
    std::uint32_t page;
};
// [types]

namespace {

using socket_type = unix_stream::socket;

constexpr int no_such_word = 1;
constexpr int not_found_out = 2;

void rethrow(std::exception_ptr error)
{
    if (error)
        std::rethrow_exception(error);
}

// [cancelled]
asio::awaitable<meaning> find(std::string word, asio::cancellation_slot nobody_waits)
{
    if (word == "asio")
        throw std::out_of_range(word);
    asio::steady_timer work(co_await asio::this_coro::executor, word == "slow" ? 1h : 0h);
    co_await work.async_wait(asio::bind_cancellation_slot(nobody_waits, asio::use_awaitable));
    co_return meaning{"what it says", 7};
}
// [cancelled]

// [serve]
asio::awaitable<void> answer(call<lookup, meaning> c)
{
    try {
        meaning found = co_await find(c.request().word, c.get_cancellation_slot());
        c.reply(found);
    } catch (const std::out_of_range& missing) {
        c.fail(no_such_word, missing.what());
    } catch (const boost::system::system_error& error) {
        if (!c.cancelled())  // a meaning that is longer than a message may be, say
            c.fail(not_found_out, error.what());
    }  // a call that is destroyed without an answer is dropped
}

asio::awaitable<void> serve(responder<socket_type, lookup, meaning> requests)
{
    auto executor = co_await asio::this_coro::executor;
    for (;;) {
        error_code ec;
        auto c = co_await requests.async_next(asio::redirect_error(asio::use_awaitable, ec));
        if (ec)
            co_return;  // eof: the caller has gone
        asio::co_spawn(executor, answer(std::move(c)), rethrow);
    }
}
// [serve]

asio::awaitable<void> ask(caller<socket_type, lookup, meaning>& dictionary)
{
    // [ask]
    lookup wanted{"yard"};
    meaning found = co_await dictionary.async_call(wanted);
    expect(found.page == 7, "the reply");
    // [ask]

    // [fail]
    error_code ec;
    call_failure failure;
    lookup unknown{"asio"};
    co_await dictionary.async_call(unknown, {.deadline = 5s}, failure,
                                   asio::redirect_error(asio::use_awaitable, ec));
    expect(ec.category() == remote_category() && ec.value() == no_such_word, "the code");
    expect(failure.text == "asio", "and the text");
    // [fail]

    // [deadline]
    lookup slow{"slow"};
    co_await dictionary.async_call(slow, {.deadline = 10ms},
                                   asio::redirect_error(asio::use_awaitable, ec));
    expect(ec == asio::error::timed_out, "nobody has answered in time");
    // [deadline]
}

asio::awaitable<void> co_main()
{
    auto executor = co_await asio::this_coro::executor;
    auto [here, there] = make_socket_pair<unix_stream>(executor);
    // [make]
    responder<socket_type, lookup, meaning> requests(std::move(there), {.max_open_calls = 16});
    asio::co_spawn(executor, serve(std::move(requests)), rethrow);
    caller<socket_type, lookup, meaning> dictionary(std::move(here));
    // [make]
    co_await ask(dictionary);
}

}  // namespace

int main()
{
    return run_main(co_main());
}

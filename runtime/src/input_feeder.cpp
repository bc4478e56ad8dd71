// SPDX-License-Identifier: BSL-1.0
#include "input_feeder.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <utility>
#include <vector>

#include "output_sink.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::size_t piece_bytes = std::size_t{64} << 10;
constexpr auto tuple = asio::as_tuple(asio::use_awaitable);

template <class Token>
auto async_read_some(byte_producer& from, asio::mutable_buffer into, Token&& token)
{
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        [](auto handler, byte_producer* source, asio::mutable_buffer buffer) {
            source->read_some(buffer, std::move(handler));
        },
        token, &from, into);
}

}  // namespace

struct input_feeder::visitor {
    input_feeder& self;

    asio::awaitable<void> operator()(const automatic_source&) const { return self.feed_memory({}); }
    asio::awaitable<void> operator()(const command_source&) const { return self.feed_memory({}); }
    asio::awaitable<void> operator()(const file_source&) const { return self.feed_memory({}); }
    asio::awaitable<void> operator()(const text_source& what) const
    {
        return self.feed_memory(*what.text);
    }
    asio::awaitable<void> operator()(const view_source& what) const
    {
        return self.feed_memory(what.bytes);
    }
    asio::awaitable<void> operator()(const stream_source& what) const
    {
        return self.feed_stream(what.stream);
    }
    asio::awaitable<void> operator()(const generator_source& what) const
    {
        return self.feed_generator(what);
    }
    asio::awaitable<void> operator()(const writer_source& what) const
    {
        return self.feed_writer(what);
    }
};

void input_feeder::start(pipe_writer& to, bool terminal)
{
    to_ = &to;
    terminal_ = terminal;
    asio::co_spawn(
        strand_, run(),
        asio::bind_cancellation_slot(
            signal_.slot(),
            asio::bind_executor(
                strand_, [this, keep = owner_.keep_alive()](const std::exception_ptr& thrown) {
                    // What a source throws is caught where it is known whose it is; here remains
                    // the cancellation of a coroutine that had not begun.
                    if (thrown && !stopped_)
                        blame_source(to_error_code(thrown), thrown);
                    finish();
                })));
}

void input_feeder::stop()
{
    if (done_ || std::exchange(stopped_, true))
        return;
    if (to_ != nullptr)
        to_->close();
    signal_.emit(asio::cancellation_type::terminal);
}

void input_feeder::finish()
{
    done_ = true;
    to_->close();
    if (const auto* stream = std::get_if<stream_source>(&source_))
        stream->stream->close();
    if (result_.error)
        owner_.feeder_failed();
    owner_.feeder_done();
}

void input_feeder::blame_source(error_code ec, std::exception_ptr exception)
{
    result_.error = ec;
    result_.exception = std::move(exception);
}

asio::awaitable<void> input_feeder::run()
{
    co_await std::visit(visitor{*this}, source_);
    if (terminal_ && !stopped_)
        co_await type_the_end();
}

// True when all was taken. Else the rest was rejected, which is no error: a child need not read its
// input to the end.
asio::awaitable<bool> input_feeder::write(std::string_view bytes)
{
    const auto [ec, n] = co_await asio::async_write(*to_, asio::buffer(bytes), tuple);
    result_.bytes_fed += n;
    if (n > 0)
        last_byte_ = bytes[n - 1];
    if (!ec)
        co_return true;
    result_.rejected = true;
    result_.bytes_rejected = bytes.size() - n;
    co_return false;
}

asio::awaitable<void> input_feeder::feed_memory(std::string_view bytes)
{
    if (!bytes.empty())
        co_await write(bytes);
}

asio::awaitable<void> input_feeder::feed_stream(std::shared_ptr<byte_producer> from)
{
    if (!from->is_open()) {
        blame_source(asio::error::bad_descriptor);
        co_return;
    }
    std::vector<char> buffer(piece_bytes);
    for (;;) {
        const auto [ec, n] = co_await async_read_some(*from, asio::buffer(buffer), tuple);
        if (n > 0) {
            const bool taken = co_await write(std::string_view(buffer.data(), n));
            if (!taken)
                co_return;
        }
        if (ec == asio::error::eof)
            co_return;
        if (ec) {
            if (stopped_)
                result_.rejected = true;
            else
                blame_source(ec);
            co_return;
        }
    }
}

asio::awaitable<void> input_feeder::feed_generator(generator_source from)
{
    for (;;) {
        std::optional<std::string> piece;
        try {
            piece = co_await from.function();
        } catch (...) {
            const auto exception = std::current_exception();
            if (stopped_)
                result_.rejected = true;
            else
                blame_source(to_error_code(exception), exception);
        }
        if (!piece)
            co_return;
        const bool taken = co_await write(*piece);
        if (!taken)
            co_return;
    }
}

asio::awaitable<void> input_feeder::feed_writer(writer_source from)
{
    try {
        co_await from.function(*to_);
    } catch (...) {
        const auto exception = std::current_exception();
        const auto ec = to_error_code(exception);
        // A writer that lets the child's refusal pass through has not failed.
        result_.rejected = stopped_ || ec == asio::error::broken_pipe;
        if (!result_.rejected)
            blame_source(ec, exception);
    }
}

// In canonical mode Ctrl-D hands over the line begun so far, and means the end only on an empty
// one. Closing would not do: a terminal has no direction to close.
asio::awaitable<void> input_feeder::type_the_end()
{
    const std::string_view keys = last_byte_ == '\n' ? "\4" : "\4\4";
    co_await asio::async_write(*to_, asio::buffer(keys), tuple);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

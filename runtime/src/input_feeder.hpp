// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_INPUT_FEEDER_HPP
#define PROCYARD_RUNTIME_SRC_INPUT_FEEDER_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <memory>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/run_input.hpp>
#include <procyard/runtime/run_result.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class feeder_owner {
public:
    // What owns the feeder; held by everything that is under way.
    virtual std::shared_ptr<void> keep_alive() = 0;
    virtual void feeder_failed() = 0;  // the source failed; feeder_done() follows
    virtual void feeder_done() = 0;    // once

protected:
    ~feeder_owner() = default;
};

// Writes a source to a child's standard input and closes it. In the run's strand.
class input_feeder {
public:
    // `owner` outlives `*this`.
    input_feeder(feeder_owner& owner, asio::any_io_executor strand, source_description source)
        : owner_(owner),
          strand_(std::move(strand)),
          source_(std::move(source))
    {
    }

    // `terminal`: the end of the input has to be typed.
    void start(pipe_writer& to, bool terminal);
    // Nobody reads any more, or shall: closes the input and cancels a coroutine.
    void stop();

    [[nodiscard]] input_result take_result() { return std::move(result_); }

private:
    struct visitor;

    asio::awaitable<void> run();
    asio::awaitable<void> feed_memory(std::string_view bytes);
    asio::awaitable<void> feed_stream(std::shared_ptr<byte_producer> from);
    asio::awaitable<void> feed_generator(generator_source from);
    asio::awaitable<void> feed_writer(writer_source from);
    asio::awaitable<void> type_the_end();
    asio::awaitable<bool> write(std::string_view bytes);
    void blame_source(error_code ec, std::exception_ptr exception = {});
    void finish();

    feeder_owner& owner_;
    asio::any_io_executor strand_;
    source_description source_;
    input_result result_;
    pipe_writer* to_ = nullptr;
    bool terminal_ = false;
    bool stopped_ = false;
    bool done_ = false;
    char last_byte_ = '\n';
    asio::cancellation_signal signal_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

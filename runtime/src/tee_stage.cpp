// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/stage.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include <procyard/ipc/detail/pending.hpp>

#include "output_pump.hpp"
#include "run_access.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using tee_handler = asio::any_completion_handler<void(std::exception_ptr)>;

// The shell of one pump, whose last sink is the next stage. In the stage's strand. Held by what is
// under way in the pump and by nothing it holds itself: it holds the coroutine.
class tee_operation final : public pump_owner, public std::enable_shared_from_this<tee_operation> {
public:
    tee_operation(const asio::any_io_executor& strand, const std::vector<sink_description>& sinks)
        : strand_(strand),
          next_stage_(sinks.size() - 1),
          pump_(*this, strand, sinks)
    {
    }

    void start(pipe_reader in, tee_handler handler)
    {
        in_ = std::move(in);
        handler_ = {strand_, std::move(handler)};
        if (auto slot = handler_.get_cancellation_slot(); slot.is_connected()) {
            slot.assign([weak = weak_from_this()](asio::cancellation_type) {
                if (const auto self = weak.lock())
                    self->cancel();
            });
        }
        pump_.start(in_);
    }

private:
    void cancel()
    {
        cancelled_ = true;
        pump_.abort();
    }

    [[nodiscard]] const sink_failure* failure_of_next_stage() const noexcept
    {
        const auto& all = pump_.result().sink_failures;
        const auto at = std::find_if(all.begin(), all.end(), [&](const sink_failure& one) {
            return one.index == next_stage_;
        });
        return at == all.end() ? nullptr : &*at;
    }

    [[nodiscard]] std::exception_ptr verdict() const
    {
        const auto failed = [](error_code ec, const char* what) {
            return std::make_exception_ptr(boost::system::system_error(ec, what));
        };
        if (cancelled_)
            return failed(asio::error::operation_aborted, "tee");
        const auto& result = pump_.result();
        const auto* failure = failure_of_next_stage();
        if (failure == nullptr && !result.sink_failures.empty())
            failure = &result.sink_failures.front();
        if (failure != nullptr) {
            return failure->exception ? failure->exception
                                      : failed(failure->error, failure->sink.c_str());
        }
        return result.read_error ? failed(result.read_error, "tee") : nullptr;
    }

    std::shared_ptr<void> keep_alive() override { return shared_from_this(); }
    void pump_read(output_pump&) override { }
    void pump_limit(output_pump&) override { }
    void pump_sink_failed(output_pump& pump) override
    {
        // The stage before must learn that there is no reader left, as from a tee(1) that a SIGPIPE
        // ends. The targets have had what was read so far.
        if (failure_of_next_stage() != nullptr)
            pump.abort();
    }
    void pump_done(output_pump&) override { handler_.complete(verdict()); }

    asio::any_io_executor strand_;
    std::size_t next_stage_;  // index of its sink
    pipe_reader in_{strand_};
    pending<void(std::exception_ptr)> handler_;
    bool cancelled_ = false;
    output_pump pump_;  // reads in_
};

asio::awaitable<void> run_tee(run_output targets, pipe_reader in, pipe_writer out)
{
    auto sinks = run_access::sinks(targets);
    sinks.emplace_back(
        stream_sink{std::make_shared<byte_consumer_of<pipe_writer>>(std::move(out))});
    auto operation = std::make_shared<tee_operation>(co_await asio::this_coro::executor, sinks);
    co_await asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr)>(
        [](auto handler, std::shared_ptr<tee_operation> begun, pipe_reader from) {
            // Out of this coroutine's frame, which it will hold.
            const auto taken = std::move(begun);
            taken->start(std::move(from), std::move(handler));
        },
        asio::use_awaitable, std::move(operation), std::move(in));
}

}  // namespace

}  // namespace detail

stage tee(run_output targets, std::string name)
{
    PROCYARD_ASSERT(!detail::run_access::sinks(targets).empty() && "a tee has targets");
    PROCYARD_ASSERT(!detail::run_access::captures(targets)
                    && "what a tee would capture is in no result");
    return stage(std::move(name), [targets = std::move(targets)](pipe_reader in, pipe_writer out) {
        return detail::run_tee(targets, std::move(in), std::move(out));
    });
}

PROCYARD_NAMESPACE_END

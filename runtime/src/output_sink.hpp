// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_OUTPUT_SINK_HPP
#define PROCYARD_RUNTIME_SRC_OUTPUT_SINK_HPP

#include <boost/asio/any_io_executor.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/run_output.hpp>
#include <procyard/runtime/run_result.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Hears that a sink has taken what it was given.
class sink_waiter {
public:
    virtual void sink_done() = 0;

protected:
    ~sink_waiter() = default;
};

// One consumer of one output, alive as long as the run. All calls come from the run's strand.
class output_sink {
public:
    output_sink() = default;
    output_sink(const output_sink&) = delete;
    output_sink& operator=(const output_sink&) = delete;
    virtual ~output_sink() = default;

    // Takes the bytes. True: at once (or it has failed). False: `waiter->sink_done()` comes, maybe
    // already within this call, and the bytes stay valid until then.
    [[nodiscard]] virtual bool write(std::string_view bytes,
                                     std::shared_ptr<sink_waiter> waiter) = 0;
    // Gives up a write that is under way; sink_done() still comes.
    virtual void abort() noexcept { }
    // The output has ended.
    virtual void finish() { }

    // Set once it has failed; it is given nothing more then.
    [[nodiscard]] const std::optional<sink_failure>& failure() const noexcept { return failure_; }

protected:
    void fail(std::string name, error_code ec, std::exception_ptr exception = {})
    {
        if (!failure_)
            failure_ = sink_failure{0, std::move(name), ec, std::move(exception)};
    }
    // From within a catch block.
    void fail_with_current_exception(std::string name);

private:
    std::optional<sink_failure> failure_;
};

// The error_code an exception carries, or run_errc::threw.
[[nodiscard]] error_code to_error_code(const std::exception_ptr& exception) noexcept;

// Where a sink leaves what the result tells.
struct sink_context {
    asio::any_io_executor strand;
    stream_result* result;
    // Set by a capture that stops the child, once.
    bool* limit_hit;
};

// Makes the sink that is described. A file that cannot be opened is a sink that has failed already.
[[nodiscard]] std::unique_ptr<output_sink> make_sink(const sink_description& what,
                                                     const sink_context& context);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

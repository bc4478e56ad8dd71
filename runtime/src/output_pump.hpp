// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_OUTPUT_PUMP_HPP
#define PROCYARD_RUNTIME_SRC_OUTPUT_PUMP_HPP

#include <boost/asio/any_io_executor.hpp>

#include <cstddef>
#include <memory>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/run_output.hpp>
#include <procyard/runtime/run_result.hpp>

#include "output_sink.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class output_pump;

// Who has pumps, keeps them alive, and decides. Called from the strand, last of all things a pump
// does in a turn or with nothing of its own at stake.
class pump_owner {
public:
    // What owns the pumps; held by everything that is under way. (A pump that held it itself would
    // outlive a context that is destroyed.)
    virtual std::shared_ptr<void> keep_alive() = 0;
    virtual void pump_read(output_pump& pump) = 0;         // bytes came
    virtual void pump_limit(output_pump& pump) = 0;        // a capture that stops is full
    virtual void pump_sink_failed(output_pump& pump) = 0;  // one or more sinks failed just now
    virtual void pump_done(output_pump& pump) = 0;         // once, after the last byte

protected:
    ~pump_owner() = default;
};

// Reads one output of a child and gives it to its sinks: reads, waits until all sinks have taken
// what was read, reads again. So it holds one buffer, and a slow sink slows the child down.
class output_pump final : public sink_waiter {
public:
    // Makes the sinks. `owner` outlives `*this`.
    output_pump(pump_owner& owner, asio::any_io_executor strand,
                const std::vector<sink_description>& sinks);

    // False if no sink is left that takes anything (or there was none).
    [[nodiscard]] bool has_consumer() const noexcept;
    [[nodiscard]] bool has_failure() const noexcept { return !result_.sink_failures.empty(); }

    // A sink has not taken yet what was read last.
    [[nodiscard]] bool is_held_up() const noexcept { return state_ == state::delivering; }

    void start(pipe_reader& from);
    // Takes what is in the pipe by now and ends, with held_by_descendant if that was not the end.
    void cut();
    // Ends now: gives up what the sinks still hold, and what was not read.
    void abort();

    // Complete when the owner has heard pump_done().
    [[nodiscard]] const stream_result& result() const noexcept { return result_; }
    [[nodiscard]] stream_result take_result() { return std::move(result_); }

private:
    enum class state : std::uint8_t { idle, waiting, delivering, done };

    void wait();
    void read_burst();
    [[nodiscard]] std::size_t room() const noexcept;
    [[nodiscard]] bool deliver(std::size_t size);
    void after_delivery();
    void note_failures();
    void sink_done() override;
    void finish();

    pump_owner& owner_;
    asio::any_io_executor strand_;
    stream_result result_;
    bool limit_hit_ = false;
    bool limit_told_ = false;
    std::vector<std::unique_ptr<output_sink>> sinks_;

    pipe_reader* from_ = nullptr;
    std::unique_ptr<char[]> buffer_;
    state state_ = state::idle;
    std::size_t undelivered_ =
        0;  // sinks that have not taken the last bytes, and one for deliver()
    bool cut_ = false;
    bool aborted_ = false;
    std::size_t cut_budget_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

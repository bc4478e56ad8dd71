// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_DETAIL_SIGNAL_SET_CORE_HPP
#define PROCYARD_SIGNALS_DETAIL_SIGNAL_SET_CORE_HPP

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>

#include <cstdint>
#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/operation_queue.hpp>
#include <procyard/signals/export.hpp>
#include <procyard/signals/signal_info.hpp>
#include <procyard/signals/signal_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

struct signal_listener;

/// A signal_set, all but its tokens: which signals it listens to and by what, and the waits.
/// @par Thread safety   As operation_queue; arm() and disarm() from any thread.
class PROCYARD_SIGNALS_EXPORT signal_set_core {
public:
    /// @throws boost::system::system_error   no descriptors, or no memory, for it
    signal_set_core(const asio::any_io_executor& ex, signal_set_options options);
    signal_set_core(const signal_set_core&) = delete;
    signal_set_core& operator=(const signal_set_core&) = delete;
    ~signal_set_core();

    void add(int number, error_code& ec);
    void remove(int number) noexcept;
    void clear() noexcept;
    /// Nothing will be heard any more; pending waits complete with operation_aborted.
    void close() noexcept;
    void cancel() noexcept { queue_->abort_all(); }

    /// Puts the handlers back above what somebody else has installed since.
    void put_handlers_back() noexcept;
    /// One signal that has come. `would_block`: none has. `was_woken`: who asks has waited.
    void take(signal_info& taken, bool was_woken, error_code& ec) noexcept;

    void arm() noexcept;
    void disarm() noexcept;

    [[nodiscard]] bool contains(int number) const noexcept;
    [[nodiscard]] signal_mechanism mechanism() const noexcept;
    [[nodiscard]] signal_mechanism mechanism(int number) const noexcept;
    [[nodiscard]] signal_statistics statistics() const noexcept;
    [[nodiscard]] operation_queue& queue() noexcept { return *queue_; }

private:
    [[nodiscard]] signal_mechanism choose(int number, error_code& ec) const noexcept;
    void listen(int number, signal_mechanism mechanism, error_code& ec) noexcept;
    void stop_listening(int number) noexcept;
    void read_signals() noexcept;
    [[nodiscard]] bool take_what_came(signal_info& taken, bool was_woken) noexcept;

    const std::shared_ptr<operation_queue> queue_;
    const signal_set_options options_;
    signal_listener* listener_ = nullptr;
    std::uint64_t handled_ = 0;  // bit n-1: signal n has our handler
    std::uint64_t read_ = 0;     // bit n-1: signal n comes by the signalfd
    std::uint64_t told_ = 0;
    std::uint64_t signals_ = 0;
};

/// Waits for a signal and takes it in the turn in which the handler runs.
class signal_wait final : public queued_operation<signal_set_core, signal_info> {
public:
    using queued_operation::queued_operation;

    progress attempt() override
    {
        error_code ec;
        const bool was_woken = std::exchange(has_looked_, true);
        if (!was_woken)
            core().put_handlers_back();
        core().take(taken_, was_woken, ec);
        return after(ec);
    }

    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        finish(std::move(self), instead, taken_);
    }

private:
    signal_info taken_{};
    bool has_looked_ = false;
};

struct initiate_signal_wait {
    template <class Handler>
    void operator()(Handler&& handler, const std::shared_ptr<signal_set_core>& core) const
    {
        queue_operation<signal_wait>(core->queue(), core, std::forward<Handler>(handler));
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

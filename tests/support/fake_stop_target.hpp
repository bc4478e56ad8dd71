// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_FAKE_STOP_TARGET_HPP
#define PROCYARD_TESTS_SUPPORT_FAKE_STOP_TARGET_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/error.hpp>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/detail/pending.hpp>

#include "stop_fsm.hpp"
#include "stop_target.hpp"

// A tree that ends when the test says so, and writes down what it is asked.
class fake_stop_target final : public procyard::detail::stop_target {
public:
    explicit fake_stop_target(boost::asio::any_io_executor ex) : ex_(std::move(ex)) { }

    std::vector<std::string> log;
    procyard::error_code signal_error;

    void exit(procyard::exit_status status)
    {
        status_ = status;
        if (exit_handler_)
            exit_handler_.complete({}, status);
    }

    /// Another thread reaps it right after the next question for its status.
    void exit_after_question(procyard::exit_status status) { reaped_next_ = status; }

    void empty()
    {
        empty_ = true;
        if (tree_handler_)
            tree_handler_.complete({});
    }

    /// Lets go of the waiters, as the child service does when its context goes down.
    void shutdown()
    {
        exit_handler_ = {};
        tree_handler_ = {};
    }

    [[nodiscard]] bool waited_for() const
    {
        return static_cast<bool>(exit_handler_) || static_cast<bool>(tree_handler_);
    }

    void close_stdin() noexcept override { log.emplace_back("close stdin"); }

    void signal(int number, procyard::stop_scope scope, procyard::error_code& ec) noexcept override
    {
        ec = signal_error;
        if (procyard::detail::asks_to_end(number))
            asked = number;
        log.push_back(procyard::to_string(procyard::stop_step{.signal = number, .scope = scope}));
    }

    void ask_no_more() noexcept override { asked = 0; }

    void kill_tree(procyard::error_code&) noexcept override { log.emplace_back("kill"); }

    [[nodiscard]] procyard::tree_mechanism mechanism() const noexcept override
    {
        return procyard::tree_mechanism::process_group;
    }
    [[nodiscard]] std::optional<procyard::exit_status> status() const override
    {
        const auto answer = status_;
        if (reaped_next_)
            status_ = std::exchange(reaped_next_, std::nullopt);
        return answer;
    }
    [[nodiscard]] bool tree_empty() override { return empty_; }

    void wait_exit(
        boost::asio::any_completion_handler<void(procyard::error_code, procyard::exit_status)> h)
        override
    {
        exit_handler_ = {ex_, std::move(h)};
        if (auto slot = exit_handler_.get_cancellation_slot(); slot.is_connected()) {
            slot.assign([this](boost::asio::cancellation_type) {
                if (exit_handler_)
                    exit_handler_.complete(boost::asio::error::operation_aborted, {});
            });
        }
        if (status_)
            exit_handler_.complete({}, *status_);
    }

    void wait_tree(boost::asio::any_completion_handler<void(procyard::error_code)> h) override
    {
        tree_handler_ = {ex_, std::move(h)};
        if (auto slot = tree_handler_.get_cancellation_slot(); slot.is_connected()) {
            slot.assign([this](boost::asio::cancellation_type) {
                if (tree_handler_)
                    tree_handler_.complete(boost::asio::error::operation_aborted);
            });
        }
    }

    void note_step(std::size_t, const procyard::stop_step&) noexcept override { ++notes; }

    int notes = 0;
    /// What a member that is found late would be sent.
    int asked = 0;

private:
    boost::asio::any_io_executor ex_;
    mutable std::optional<procyard::exit_status> status_;
    mutable std::optional<procyard::exit_status> reaped_next_;
    bool empty_ = false;
    procyard::detail::pending<void(procyard::error_code, procyard::exit_status)> exit_handler_;
    procyard::detail::pending<void(procyard::error_code)> tree_handler_;
};

#endif

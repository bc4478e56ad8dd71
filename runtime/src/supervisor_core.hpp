// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SUPERVISOR_CORE_HPP
#define PROCYARD_RUNTIME_SRC_SUPERVISOR_CORE_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "service_runner.hpp"
#include "supervisor_fsm.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Carries out what the state machine decides: starts and stops runners, keeps the machine's one
// timer, and tells whoever listens.
class supervisor_core final : public runner_owner,
                              public std::enable_shared_from_this<supervisor_core> {
public:
    using handler = asio::any_completion_handler<void(error_code, supervisor_result)>;

    // A group's does not end when its budget does: who supervises it says what is left.
    supervisor_core(asio::any_io_executor ex, supervisor_options options, bool is_group = false);

    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }

    void add(const service& what);
    void request(supervisor_input::kind what);
    void request(supervisor_input::kind what, std::string_view name);
    void stop(std::chrono::nanoseconds budget);
    void wait(handler h);
    [[nodiscard]] std::vector<service_snapshot> snapshot() const;

    // The user's object has gone.
    void abandon() noexcept;

    void on_news(supervisor_input::kind what, std::size_t number,
                 std::uint64_t generation) override;
    void on_ended(std::size_t number, std::uint64_t generation, bool clean,
                  std::shared_ptr<death_report> report) override;

    static void post_news(const asio::any_io_executor& ex, std::weak_ptr<supervisor_core> core,
                          supervisor_input::kind what, std::size_t number,
                          std::uint64_t generation);
    static void post_alive(const asio::any_io_executor& ex, std::weak_ptr<supervisor_core> core,
                           std::size_t number, std::uint64_t generation);

private:
    struct entry {
        std::shared_ptr<const service_access::description> how;
        std::map<std::uint64_t, std::shared_ptr<service_runner>> runners{};
        timer_clock::time_point since{};
        std::uint64_t restarts = 0;
        std::shared_ptr<const death_report> last_death{};
        std::uint64_t last_dead = 0;
    };

    [[nodiscard]] supervisor_fsm::service_setup setup_of(const service_access::description& how,
                                                         std::string_view owner) const;
    [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const;
    [[nodiscard]] std::size_t number_of(std::string_view name) const;

    void tell(const supervisor_input& input);
    void tell_all();
    void publish(const service_transition& what);
    void give_up(const std::string& culprit);
    void carry_out(const supervisor_output& what);
    void start(std::size_t number, std::uint64_t generation);
    void cannot_start(std::size_t number, std::uint64_t generation, const std::string& why);
    void refuse_if_needed(std::string_view name) const;
    void arm();
    void on_timer();
    void finish(bool everything_has_gone);
    void complete_waits();

    asio::any_io_executor executor_;
    supervisor_options options_;
    supervisor_fsm fsm_;
    std::vector<entry> services_{};
    std::deque<supervisor_input> inputs_{};
    bool telling_ = false;
    bool abandoned_ = false;
    bool is_group_;

    std::shared_ptr<asio::cancellation_signal> timer_{};
    std::optional<timer_clock::time_point> armed_for_{};

    std::optional<timer_clock::time_point> stop_began_{};
    std::optional<timer_clock::time_point> stop_ends_{};
    std::optional<supervisor_result> result_{};
    std::string culprit_{};
    // Those that were cancelled are empty, until the next one comes.
    std::list<std::shared_ptr<pending<void(error_code, supervisor_result)>>> waits_{};
};

// What is wrong with a service, in words; empty when nothing is.
[[nodiscard]] std::string fault_of(const service_access::description& how);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

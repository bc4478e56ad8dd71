// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SUPERVISOR_CORE_HPP
#define PROCYARD_RUNTIME_SRC_SUPERVISOR_CORE_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

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
#include "supervision_turn.hpp"
#include "supervisor_fsm.hpp"
#include "survivor_book.hpp"
#include "survivor_sweep.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Carries out what the state machine decides: starts and stops runners, keeps the machine's one
// timer, and tells whoever listens.
class supervisor_core final : public runner_owner,
                              public std::enable_shared_from_this<supervisor_core> {
public:
    using handler = asio::any_completion_handler<void(error_code, supervisor_result)>;
    using sweep_handler = asio::any_completion_handler<void(error_code)>;

    // Of a group: it does not end when its budget does, since who supervises it says what is left;
    // it writes into the same book, and hears what it is told in the same turn.
    struct group_mark {
        std::shared_ptr<survivor_book> book;
        std::shared_ptr<supervision_turn> turn;
        std::shared_ptr<service_history> history;
        // Who has the group, and as what.
        std::weak_ptr<runner_owner> owner;
        std::size_t number;
        std::uint64_t generation;
        std::chrono::nanoseconds most_grace;
    };

    supervisor_core(asio::any_io_executor ex, supervisor_options options,
                    std::optional<group_mark> group = std::nullopt);

    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }

    void add(const service& what);
    void request(supervisor_input::kind what);
    // Of a service, or of a member of a group: "group/member".
    void request(supervisor_input::kind what, std::string_view name);
    void stop(std::chrono::nanoseconds budget);
    void wait(handler h);
    void wait_for_sweep(sweep_handler h);
    [[nodiscard]] std::vector<service_snapshot> snapshot() const;
    // Or have done what they were to do.
    [[nodiscard]] bool all_serve() const;

    // The user's object has gone.
    void abandon() noexcept;

    void on_news(const supervisor_input& news) override;
    void on_ended(std::size_t number, std::uint64_t generation, bool clean,
                  std::shared_ptr<death_report> report) override;
    void on_member(std::size_t number, std::uint64_t generation, service_event event) override;
    [[nodiscard]] bool serves(std::size_t number, std::uint64_t generation) const noexcept override;
    [[nodiscard]] bool serves_here(std::size_t number,
                                   std::uint64_t generation) const noexcept override;

    static void post_news(const asio::any_io_executor& ex, std::weak_ptr<supervisor_core> core,
                          const supervisor_input& news);
    static void post_alive(const asio::any_io_executor& ex, std::weak_ptr<supervisor_core> core,
                           std::size_t number, std::uint64_t generation);

private:
    struct entry {
        std::shared_ptr<const service_access::description> how;
        std::shared_ptr<log_feed> log;
        std::shared_ptr<descriptor_store> kept;
        std::map<std::uint64_t, std::shared_ptr<service_runner>> runners{};
        std::shared_ptr<service_history> history;
        // Of a member until its first event: where it stood when its group ended.
        std::optional<service_state> stood{};
        timer_clock::time_point since{};
        std::shared_ptr<const death_report> last_death{};
        std::uint64_t last_dead = 0;
    };

    // By number, which is in the order in which they were added, and not used again.
    using entries = std::map<std::size_t, entry>;

    [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const;
    void request(supervisor_input::kind what, std::string_view name, std::string_view path);
    [[nodiscard]] supervisor_core* members_of(std::size_t number) const;
    [[nodiscard]] std::uint64_t shown_generation(const entry& one, std::uint64_t own) const;
    void tell_takeover(const service_transition& what);
    void take_over(const supervisor_core* before);
    void members_take_over(std::size_t number, const supervisor_core* before);
    void ended_take_over(const service_access::description::members& group,
                         service_history& history, std::uint64_t within, const std::string& path,
                         const supervisor_core* before);
    void tell_replaced(std::string name, std::uint64_t generation, service_state from,
                       service_state to, timer_clock::time_point& since);
    void describe(const std::string& path, std::vector<service_snapshot>& all) const;
    [[nodiscard]] bool group_serves() const noexcept;
    void name_left(const std::string& path, std::vector<std::string>& left) const;

    void tell(const supervisor_input& input);
    void hear(const supervisor_input& input);
    void publish(const service_transition& what);
    [[nodiscard]] entries::node_type forget(std::size_t number);
    void on_log_idle();
    void give_up(const std::string& culprit);
    void carry_out(const supervisor_output& what);
    void start(std::size_t number, std::uint64_t generation);
    void cannot_start(std::size_t number, std::uint64_t generation, const std::string& why);
    void refuse_if_needed(std::string_view name) const;
    [[nodiscard]] bool sweep_once();
    void sweep();
    void arm_sweep();
    void end_sweep(error_code ec);
    void give_up_sweep(std::string why);
    void arm();
    void on_timer();
    [[nodiscard]] bool logs_are_flushed() const noexcept;
    void finish_if_over();
    void finish();
    void complete_waits();

    asio::any_io_executor executor_;
    supervisor_options options_;
    supervisor_fsm fsm_;
    entries services_{};
    // Of those that were removed, until they have got what waits for them.
    std::vector<std::shared_ptr<log_feed>> last_logs_{};
    std::shared_ptr<supervision_turn> turn_;
    std::uint64_t told_ = 0;  // the number of the last event
    bool abandoned_ = false;
    bool all_have_gone_ = false;
    const std::optional<group_mark> group_;
    const std::chrono::nanoseconds most_grace_;  // of a service that is alone here
    const std::shared_ptr<orphan_burial> burial_;

    std::shared_ptr<survivor_book> book_{};
    // Until the directory is ours, and those that another supervisor has left are gone: nothing is
    // done before.
    bool sweeping_ = false;
    std::unique_ptr<survivor_sweep> sweep_{};
    std::chrono::nanoseconds sweep_delay_ = std::chrono::milliseconds(1);
    std::shared_ptr<asio::cancellation_signal> sweep_timer_{};
    timer_clock::time_point sweep_ends_{};
    std::list<std::shared_ptr<pending<void(error_code)>>> sweep_waits_{};

    std::shared_ptr<asio::cancellation_signal> timer_{};
    std::optional<timer_clock::time_point> armed_for_{};

    std::optional<timer_clock::time_point> stop_began_{};
    std::optional<timer_clock::time_point> stop_ends_{};
    std::optional<supervisor_result> result_{};
    std::string culprit_{};
    // Those that were cancelled are empty, until the next one comes.
    std::list<std::shared_ptr<pending<void(error_code, supervisor_result)>>> waits_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

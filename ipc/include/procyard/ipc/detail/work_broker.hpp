// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_WORK_BROKER_HPP
#define PROCYARD_IPC_DETAIL_WORK_BROKER_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/fan_in_core.hpp>
#include <procyard/ipc/detail/operation_queue.hpp>
#include <procyard/ipc/detail/work_records.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/work_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class lease_book;

/// What a consumer is told of its two channels, by the one descriptor that it gets.
struct work_hello {
    std::uint64_t most_leases = 0;
    channel_options channels{};
};
[[nodiscard]] PROCYARD_IPC_EXPORT unique_fd pack_consumer(const work_hello& hello, int items,
                                                          int answers, error_code& ec);
/// @param sender   Of `channel_errc::other_direction`: what it is instead, for a person.
[[nodiscard]] PROCYARD_IPC_EXPORT work_hello unpack_consumer(unique_fd from, unique_fd& items,
                                                             unique_fd& answers,
                                                             std::string& sender, error_code& ec);
/// Of the channel of answers: as many as can be under way.
[[nodiscard]] PROCYARD_IPC_EXPORT channel_options answer_options(const work_hello& hello) noexcept;

/// A work queue, all but the type of its items: takes in what the producers send, hands it out,
/// hears the consumers' answers, and takes back what was not answered in time. What follows from
/// what is decided by the lease_book.
///
/// One function does all of it, whatever has happened: answers first, so that one that was given in
/// time is heard before the lease is looked at.
/// @par Thread safety   As channel_core.
class PROCYARD_IPC_EXPORT work_broker : public std::enable_shared_from_this<work_broker> {
public:
    struct dead_item {
        std::uint64_t id = 0;
        unsigned attempts = 0;
        return_reason reason = return_reason::none;
    };

    work_broker(const work_broker&) = delete;
    work_broker& operator=(const work_broker&) = delete;
    virtual ~work_broker();

    [[nodiscard]] static error_code check(const work_queue_options& options) noexcept;

    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
    [[nodiscard]] const work_queue_options& options() const noexcept { return options_; }
    [[nodiscard]] operation_queue& pushes() noexcept { return *pushes_; }
    [[nodiscard]] operation_queue& letters() noexcept { return *letters_; }
    [[nodiscard]] operation_queue& drains() noexcept { return *drains_; }

    /// Whether an item can be added: no error; would_block; closed; EBADF.
    [[nodiscard]] error_code room() const noexcept;
    /// Whether nothing is ready or leased: no error; would_block; EBADF.
    [[nodiscard]] error_code drained() const noexcept;
    /// The next dead letter. would_block: none as yet; closed: none any more.
    [[nodiscard]] error_code collect(dead_item& dead);

    /// Takes no more items. Who consumes hears of it when all that are here are done.
    void close();
    /// Everything ends now.
    void stop() noexcept;
    void cancel() noexcept;
    [[nodiscard]] bool is_open() const noexcept { return open_ && !closing_; }
    [[nodiscard]] work_queue_statistics statistics() const noexcept;

protected:
    work_broker(const asio::any_io_executor& ex, const work_queue_options& options,
                std::shared_ptr<fan_in_core> producers, std::shared_ptr<fan_in_core> answers);

    [[nodiscard]] fan_in_core& producers() noexcept { return *producers_; }
    /// That of the next item. Whatever can throw comes before that is added.
    [[nodiscard]] std::uint64_t next_item() const noexcept;
    /// @pre room() says so
    void add_item();
    /// Takes a consumer whose answers come from here.
    [[nodiscard]] std::uint64_t attach(receiver<work_answer> answers, error_code& ec);
    void detach(std::uint64_t consumer) noexcept;
    /// Does what there is to do, in a turn of its own.
    void pump_later();
    /// The owner has had its turn to push, whatever comes of it.
    void has_pushed();
    /// A consumer to whom send() has said would_block can be sent something again, or never.
    void has_room(std::uint64_t consumer, const error_code& ec);

private:
    /// Sends an item to a consumer, without waiting.
    virtual error_code send(const hand_out& what, std::uint64_t refused) = 0;
    /// Calls has_room() when there is room for what was refused.
    virtual void wait_for_room(std::uint64_t consumer) = 0;
    /// Adds an item that a producer has sent. False: there is none.
    virtual bool admit() = 0;
    /// An item is gone.
    virtual void forget(std::uint64_t item) noexcept = 0;
    /// Closes what is sent to a consumer.
    virtual void let_go(std::uint64_t consumer) noexcept = 0;
    virtual void let_all_go() noexcept = 0;

    void pump();
    [[nodiscard]] bool owes_a_push() const noexcept;
    void wait_for_more();
    void hear_answers(fan_in_look how);
    [[nodiscard]] bool apply(std::uint64_t consumer, const work_answer& answer);
    void hand_out_items();
    void has_ended(std::uint64_t consumer, const error_code& ec);
    void listen(fan_in_core& to, bool& is_listening);
    void has_heard(const error_code& ec);
    void set_timer();
    void wake_operations() noexcept;

    const asio::any_io_executor executor_;
    const work_queue_options options_;
    std::unique_ptr<lease_book> book_;
    std::shared_ptr<fan_in_core> producers_;
    std::shared_ptr<fan_in_core> answers_;
    std::shared_ptr<operation_queue> pushes_;
    std::shared_ptr<operation_queue> letters_;
    std::shared_ptr<operation_queue> drains_;
    asio::steady_timer timer_;
    std::optional<std::chrono::steady_clock::time_point> timer_set_;
    std::optional<std::chrono::steady_clock::time_point> deaf_until_;  // something was missing here
    bool listens_to_producers_ = false;
    bool listens_to_answers_ = false;
    bool is_posted_ = false;
    bool is_pushs_turn_ = false;  // a producer's item was the last that came in
    bool open_ = true;
    bool closing_ = false;
    error_code failure_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_PROCESS_HPP
#define PROCYARD_RUNTIME_SRC_POOL_PROCESS_HPP

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/detail/pool_task_state.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "output_lines.hpp"
#include "pool_wire.hpp"
#include "worker_record.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class pool_process;

// Who hears what a worker does. All of it comes in a turn of the executor, and never inside a call
// of the worker.
class pool_process_owner {
public:
    // The worker has said what it is, and that fits.
    virtual void on_ready(pool_process& from) = 0;
    // One of its answers. False: that is none it can give.
    [[nodiscard]] virtual bool on_answer(pool_process& from, const parsed_record& answer,
                                         timer_clock::time_point now) = 0;
    // All answers that were there have been told. Not after hear_or_end(), which is a call of the
    // owner's. May throw what a handler of a user has thrown.
    virtual void on_answers_told() = 0;
    // What it was asked, and had to wait for room in the channel, is there: see has_been_asked().
    // May throw, too.
    virtual void on_asked(pool_process& from) = 0;
    // Nothing of it lives, and everything it has sent was told; but for on_answers_told(). Once.
    virtual void on_ended(pool_process& from, std::shared_ptr<const death_report> report) = 0;

protected:
    ~pool_process_owner() = default;
};

// What all workers of a pool have in common.
struct pool_process_setup {
    asio::any_io_executor executor;
    std::shared_ptr<timer_clock> clock;
    command program;
    std::string entry;
    channel_options channels;
    setup_message setup;  // but for the slot
    std::vector<std::vector<unsigned>> affinity;
    std::size_t error_tail;
    std::chrono::nanoseconds grace;  // for one whose channel has ended, until it is killed
    const type_description* request;
    const type_description* response;
};

// One incarnation of a worker: its process, its channels, its record.
//
//   starting --spawned--> greeting --hello--> working --process gone--> remains --gone--> ended
//       \--cannot be------\--bad hello: stop----------------^              (its tree, and what is
//          started: ended   it breaks a rule: kill                          left in its channel)
class pool_process : public std::enable_shared_from_this<pool_process> {
public:
    pool_process(pool_process_owner& owner, std::shared_ptr<const pool_process_setup> setup,
                 std::uint64_t number, std::size_t slot);
    pool_process(const pool_process&) = delete;
    pool_process& operator=(const pool_process&) = delete;
    ~pool_process() = default;

    void start(const trace_context& trace);

    // What goes to the worker waits for flush().
    void deliver(std::shared_ptr<pool_task_state> task);
    // `only_unbegun`: a task that it has begun goes on.
    void ask(const pool_task_state& task, bool only_unbegun);
    void give_credits(const pool_task_state& task, std::uint32_t items);
    void retire();
    void flush();
    // Whether all is in the channel, with something that it was asked since the last time.
    [[nodiscard]] bool has_been_asked() noexcept;

    // Tells the owner what has come by now. What fails is returned; where there was no memory the
    // worker is killed, for what was half heard cannot be heard again.
    [[nodiscard]] std::exception_ptr hear_or_end() noexcept;

    // `overdue`: because it is not ready yet.
    void terminate(bool overdue);
    void kill();
    // For forwarded signals.
    void signal_tree(int number, error_code& ec);
    // Nobody listens any more.
    void abandon() noexcept;
    void forget_owner() noexcept { owner_ = nullptr; }

    [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
    [[nodiscard]] std::size_t slot() const noexcept { return slot_; }
    [[nodiscard]] pid_t pid() const noexcept { return child_ ? child_.id() : 0; }
    [[nodiscard]] const peer_worker_record& record() const noexcept { return record_; }
    // How many of the tasks that were delivered have been in its channel, to the last byte.
    [[nodiscard]] std::uint64_t sent() const noexcept { return sent_; }
    // As many, and the one of which a part may have been there.
    [[nodiscard]] std::uint64_t touched() const noexcept { return touched_; }

    // The owner's: it is in the list of those to be flushed.
    bool is_dirty = false;
    // It was ended by the owner without a fault of its own: nobody wanted it any more.
    [[nodiscard]] bool was_unwanted() const noexcept { return unwanted_ && text_.empty(); }

    // The owner's: which progress it has seen.
    std::uint64_t seen_beats = 0;
    std::size_t watched = 0;  // tasks with a heartbeat
    timer_clock::time_point memory_seen{};
    trace_context trace{};

private:
    using bytes = std::span<const std::byte>;

    struct outgoing {
        std::shared_ptr<pool_task_state> task;  // its record, or
        std::vector<std::byte> own;
        std::uint64_t worker = 0;    // that it was delivered to: another one may have it by now
        std::uint64_t credited = 0;  // of credits: the task, and which attempt at it
        std::uint32_t attempt = 0;
        [[nodiscard]] bytes get() const noexcept { return task ? bytes(task->record) : bytes(own); }
    };

    [[nodiscard]] command prepare(const trace_context& trace, error_code& ec);
    asio::awaitable<void> live(command what);
    asio::awaitable<void> wait_for_remains();
    asio::awaitable<void> read_errors();
    asio::awaitable<void> climb(stop_ladder ladder);
    asio::awaitable<void> put_down(std::chrono::nanoseconds grace);
    void end_hard();
    void supervise(asio::awaitable<void> part);
    void begin(asio::awaitable<void> part, void (pool_process::*failed)());
    void lost_sight();
    void kill_unheard();
    void end_unheard() noexcept;
    void explain(const char* why) noexcept;
    [[nodiscard]] bool kill_now() noexcept;

    void say(pool_header header);
    void send_first();
    void could_not_send(const error_code& ec);
    void has_gone(const outgoing& what) noexcept;
    void hear();
    template <class Function>
    [[nodiscard]] std::exception_ptr or_end(Function what) noexcept;
    void listen();
    void on_readable(const error_code& ec);
    void stopped_listening(const error_code& ec);
    void take(bytes record, timer_clock::time_point now);
    void take_hello(bytes payload);
    [[nodiscard]] std::string fault_of(const hello_message& hello);
    [[nodiscard]] bool take_memory();
    void broke_rules(const std::string& how);
    void one_source_ended();
    void post_end(std::optional<exit_status> status);
    void tell_end(const std::optional<exit_status>& status);
    [[nodiscard]] std::shared_ptr<const death_report>
    report_of(const std::optional<exit_status>& status) noexcept;

    pool_process_owner* owner_;
    std::shared_ptr<const pool_process_setup> setup_;
    std::uint64_t number_;
    std::size_t slot_;
    timer_clock::time_point started_;

    child child_{};
    sender<bytes> tx_{};
    receiver<bytes> rx_{};
    unique_fd control_{};
    peer_worker_record record_{};
    output_tail tail_;
    std::string text_{};  // why it had to end
    std::shared_ptr<death_report> report_{};

    std::vector<outgoing> unsent_{};
    std::uint64_t sent_ = 0;     // tasks
    std::uint64_t touched_ = 0;  // tasks
    bool sending_ = false;
    bool asking_ = false;  // has_been_asked() was not true since
    bool greeted_ = false;
    bool broken_ = false;
    bool asked_ = false;     // to end, by whatever
    bool overdue_ = false;   // because it was not ready in time
    bool unwanted_ = false;  // the owner did that
    bool killed_ = false;
    bool gone_ = false;  // the process itself; what it has started may be there
    bool told_ = false;
    unsigned sources_ = 0;  // its channel and its standard error, as long as more may come
    std::shared_ptr<asio::cancellation_signal> all_told_{};
    std::shared_ptr<asio::cancellation_signal> spawning_{};
    std::shared_ptr<asio::cancellation_signal> going_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_WORKER_CORE_HPP
#define PROCYARD_RUNTIME_SRC_WORKER_CORE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/pool_job.hpp>
#include <procyard/runtime/worker_entries.hpp>

#include "pool_wire.hpp"
#include "worker_record.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// A task that has come to this worker.
struct worker_task {
    asio::any_io_executor executor{};
    worker_core* core = nullptr;  // null when it has been answered: then its jobs do nothing
    std::uint64_t number = 0;
    std::uint32_t attempt = 0;
    std::uint32_t credits = 0;
    std::chrono::nanoseconds run_limit{};  // 0: none
    std::chrono::steady_clock::time_point deadline{};
    bool wants_beats = false;
    bool is_stream = false;
    bool cancelled = false;
    bool begun = false;
    trace_context trace{};
    std::vector<std::byte> request{};
    asio::cancellation_signal signal{};  // of a handler that is a coroutine
    // An item that waits for a credit.
    std::vector<std::byte> item{};
    pending<void(error_code)> yields{};
    unsigned wait = 0;  // the how manieth wait that is
};

// A worker: takes tasks out of its channel, calls the handler, and says what came of it.
//
//   greeting --setup--> warming up --hello--> working --stop, and nothing left--> done
//       \------------------\----------------------\--the pool's end is gone--> done
class worker_core {
public:
    // `handler` is null when there is no entry of the name that was asked for, and `why` says so.
    worker_core(asio::io_context& ctx, std::string entry_name, pool_handler* handler,
                const worker_warm_up* warm_up, std::string why, std::chrono::nanoseconds spin);
    worker_core(const worker_core&) = delete;
    worker_core& operator=(const worker_core&) = delete;
    ~worker_core();

    // Until it is over; what main() returns.
    [[nodiscard]] int run();

    // For job, and for handlers.
    void answer(worker_task& task, const answer_writer& response);
    void answer_without(worker_task& task);
    void yield(const std::shared_ptr<worker_task>& task, const type_description& type,
               const answer_writer& item, pending<void(error_code)> handler);
    [[nodiscard]] bool look_whether_cancelled(const worker_task& task);
    void beat() noexcept { record_.beat(); }
    void count(std::size_t counter, std::uint64_t n) noexcept { record_.count(counter, n); }
    [[nodiscard]] std::size_t slot() const noexcept { return setup_.slot; }

private:
    using bytes = std::span<const std::byte>;
    using task_pointer = std::shared_ptr<worker_task>;

    [[nodiscard]] bool open();
    void listen();
    void on_readable(const error_code& ec);
    [[nodiscard]] bool drain();
    [[nodiscard]] bool take_all();
    [[nodiscard]] bool take(bytes record);
    [[nodiscard]] bool take_setup(bytes payload);
    [[nodiscard]] bool take_task(const parsed_record& record);
    void take_cancel(const parsed_record& record);
    void take_credit(const parsed_record& record);
    void cancel(const task_pointer& task);
    void end(const error_code& why);

    [[nodiscard]] bool send_record();
    void warm_up();
    void say_hello(const std::string& why_not);
    void start_beating();
    void wait_for_beat();

    void pump();
    void begin(const task_pointer& task);
    void begin_coroutine(const task_pointer& task);
    void ended(const task_pointer& task, const std::exception_ptr& error);
    void fail(worker_task& task, const std::exception_ptr& error);
    void finish(worker_task& task);
    void recycle(task_pointer task);

    [[nodiscard]] pool_header header_of(const worker_task& task, pool_record kind) const;
    // False: the value is none that can be sent.
    [[nodiscard]] bool put(const pool_header& header, const answer_writer& what);
    void put_later(std::vector<std::byte> record);
    void send_next();
    void end_if_done();

    asio::io_context* ctx_;
    std::string entry_name_;
    pool_handler* handler_;
    const worker_warm_up* warm_up_;
    std::string why_not_;
    std::chrono::nanoseconds spin_;

    receiver<bytes> rx_{};
    sender<bytes> tx_{};
    unique_fd control_{};
    own_worker_record record_{};
    asio::steady_timer beat_;
    bool beating_ = false;

    setup_message setup_{};
    bool greeted_ = false;
    bool stopping_ = false;  // no more tasks come
    bool over_ = false;
    bool pump_posted_ = false;
    int code_ = 0;

    std::deque<task_pointer> queue_{};  // not begun, in their order
    std::vector<task_pointer> running_{};
    std::vector<task_pointer> to_cancel_{};
    std::vector<task_pointer> spare_{};
    // The first one is being sent. As long as there is any, nothing is begun: see pump().
    std::deque<std::vector<std::byte>> unsent_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

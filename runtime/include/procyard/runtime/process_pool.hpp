// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_PROCESS_POOL_HPP
#define PROCYARD_RUNTIME_PROCESS_POOL_HPP

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/detail/pool_task_state.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/pool_metrics.hpp>
#include <procyard/runtime/pool_options.hpp>
#include <procyard/runtime/pool_stream.hpp>
#include <procyard/runtime/pool_task.hpp>

PROCYARD_NAMESPACE_BEGIN

struct signal_info;

/// submit_options, as an argument of an operation: give them a name, and pass that.
///
/// Not an aggregate, so `{.priority = 1}` in the place of an argument is an error of the
/// compiler's: GCC 12 and 13 destroy an aggregate that is made inside a `co_await` expression
/// twice.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
class submit_terms {
public:
    /// The default ones.
    submit_terms() = default;
    submit_terms(submit_options options) : options_(std::move(options)) { }

    [[nodiscard]] const submit_options& get() const noexcept { return options_; }

private:
    submit_options options_{};
};

/// What a worker can answer with: what can be sent and received, and does not borrow.
template <class T>
concept pool_response = message<T> && !borrows_message<T>;

/// Processes that work: a request goes to one of them over shared memory, and its response comes
/// back. One that dies takes the task that it ran with it and nothing else, and another one takes
/// its place; the pool itself never breaks.
///
/// A worker is this program again, started anew, in which worker_entries::run_if_worker() finds the
/// entry; or any other program that does the same. Nothing is forked: what a worker needs it reads
/// at its start, in its warm-up, or in its requests.
///
/// Workers die with the pool's process, however it ends.
///
/// After a move: nothing but assignment and destruction.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, and its tasks and streams
///                      are parts of it. Its executor has to run one handler at a time: a strand,
///                      or a context that one thread runs; use it from there.
/// @par Lifetime        The destructor does not wait: every worker is killed, and what is pending
///                      completes with operation_aborted. async_stop() is the other way.
/// @par Fork            Not to be used in a child of fork(), where its destructors do nothing.
/// @par Process-wide effects   Those of async_spawn: one thread for each context.
/// @par Example         @snippet examples/guide/pooling.cpp pool
template <encodable_message Request, pool_response Response>
class process_pool {
public:
    using request_type = Request;
    using response_type = Response;
    using executor_type = asio::any_io_executor;
    using task_type = pool_task<Response>;
    using stream_type = pool_stream<Response>;

    /// Of this program's own `entry`.
    /// @throws std::invalid_argument   that names the option which no pool can have
    process_pool(asio::any_io_executor ex, std::string entry, pool_options options = {})
        : process_pool(std::move(ex), detail::this_program(entry), entry, std::move(options))
    {
    }
    /// Of another program's, or of this one with other arguments, limits, places. What the command
    /// says of the standard streams is kept; by default a worker reads nothing, writes where this
    /// process writes, and the end of its standard error goes into the report of its death.
    process_pool(asio::any_io_executor ex, command program, std::string entry,
                 pool_options options = {})
        : core_(detail::make_pool_core(std::move(ex), std::move(program), std::move(entry),
                                       std::move(options), describe<Request>(),
                                       describe<Response>()))
    {
    }
    process_pool(process_pool&&) noexcept = default;
    process_pool& operator=(process_pool&& other) noexcept
    {
        process_pool old(std::move(*this));
        core_ = std::move(other.core_);
        return *this;
    }
    ~process_pool()
    {
        if (core_)
            detail::abandon_pool(*core_);
    }

    [[nodiscard]] executor_type get_executor() const noexcept
    {
        return detail::executor_of(*core_);
    }

    /// Starts the workers, and waits until `min_workers` are ready, that is, warm. Without this
    /// call there are none: what was submitted waits until it is made, and ends with async_stop(),
    /// the destructor, or its queue_deadline.
    /// @par Completion    void(error_code)
    /// @par Errors        `pool_errc::not_ready`: one of them could not be started, or said that it
    ///                    cannot work; explanation() says why. The pool goes on trying, with
    ///                    growing delays; wait again if that is of use. `pool_errc::stopped`;
    ///                    `operation_aborted`.
    /// @par Cancellation  terminal, partial and total: the wait ends, the workers start all the
    ///                    same.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_start(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code)>(
            [](auto handler, const std::shared_ptr<detail::pool_core>& core) {
                detail::start_pool(*core, std::move(handler));
            },
            token, core_);
    }

    /// Submits a task, and waits while pool_options::high_water others wait.
    /// @par Completion    void(error_code, pool_task<Response>)
    /// @par Errors        `pool_errc::bad_message`: the request cannot be encoded, or is longer
    ///                    than a worker takes; the report says which, or what its codec has
    ///                    thrown. ENOMEM: that had no memory. `queue_deadline`: while it waited for
    ///                    room. `stopped`: the same, or it came after a stop. `operation_aborted`.
    ///                    The task is there with an error, too, for its report.
    /// @throws std::invalid_argument   that names the option which no task can have
    /// @par Cancellation  terminal, partial and total: nothing was submitted.
    /// @par Cost          Without a wait one allocation, and those of the handler; the request is
    ///                    encoded once, and copied once into the channel.
    template <
        asio::completion_token_for<void(error_code, pool_task<Response>)> Token = asio::deferred_t>
    [[nodiscard]] auto async_submit(Request request, submit_terms options = {}, Token&& token = {})
    {
        detail::check_terms(options.get());
        return asio::async_initiate<Token, void(error_code, task_type)>(
            [](auto handler, const std::shared_ptr<detail::pool_core>& core, const Request& what,
               const submit_terms& how) {
                auto task = make_task<typed_task>(*core);
                task->wait_for_admission(
                    typename typed_task::submit_handler(task->executor, std::move(handler)));
                (void)detail::submit_to(*core, std::move(task), detail::request_writer_of(what),
                                        how.get(), true);
            },
            token, core_, std::move(request), std::move(options));
    }

    /// Submits a task, if there is room at once. Empty: it was not submitted, and `ec` says why.
    /// @par Errors        As async_submit's, and `would_block` where that one would wait.
    /// @throws std::invalid_argument   as async_submit
    /// @par Cost          One allocation.
    [[nodiscard]] pool_task<Response> try_submit(const Request& request,
                                                 const submit_options& options, error_code& ec)
    {
        detail::check_terms(options);
        auto task = make_task<typed_task>(*core_);
        const bool done =
            detail::submit_to(*core_, task, detail::request_writer_of(request), options, false);
        ec = done ? error_code() : task->error;
        return done ? task_type(std::move(task)) : task_type();
    }

    /// Submits a task and waits for its result.
    /// @par Completion    void(error_code, Response)
    /// @par Errors        As async_submit's and pool_task::async_result's.
    /// @throws std::invalid_argument   as async_submit
    /// @par Cancellation  terminal, partial and total: the task is cancelled, and this ends when
    ///                    its worker has agreed to that, or the process that ran it is gone.
    template <asio::completion_token_for<void(error_code, Response)> Token = asio::deferred_t>
    [[nodiscard]] auto async_call(Request request, submit_terms options = {}, Token&& token = {})
    {
        detail::check_terms(options.get());
        return asio::async_initiate<Token, void(error_code, Response)>(
            [](auto handler, const std::shared_ptr<detail::pool_core>& core, const Request& what,
               const submit_terms& how) {
                auto task = make_task<typed_task>(*core);
                task->wait(typename typed_task::result_handler(task->executor, std::move(handler)),
                           true);
                (void)detail::submit_to(*core, std::move(task), detail::request_writer_of(what),
                                        how.get(), true);
            },
            token, core_, std::move(request), std::move(options));
    }

    /// Submits a task that answers with any number of items. It is never begun twice, whatever
    /// submit_options::idempotent says: what was given cannot be taken back.
    /// @par Completion    void(error_code, pool_stream<Response>)
    /// @par Errors, cancellation   As async_submit's.
    template <asio::completion_token_for<void(error_code, pool_stream<Response>)> Token =
                  asio::deferred_t>
    [[nodiscard]] auto async_submit_stream(Request request, submit_terms options = {},
                                           Token&& token = {})
    {
        detail::check_terms(options.get());
        return asio::async_initiate<Token, void(error_code, stream_type)>(
            [](auto handler, const std::shared_ptr<detail::pool_core>& core, const Request& what,
               const submit_terms& how) {
                auto task = make_task<typed_stream>(*core);
                task->wait_for_admission(
                    typename typed_stream::submit_handler(task->executor, std::move(handler)));
                (void)detail::submit_to(*core, task, detail::request_writer_of(what), how.get(),
                                        true);
            },
            token, core_, std::move(request), std::move(options));
    }

    /// Changes how many workers there are. Those that are too many end when they have nothing to
    /// do.
    /// @throws std::invalid_argument   for numbers that no pool can have
    void resize(unsigned min_workers, unsigned max_workers)
    {
        detail::resize_pool(*core_, min_workers, max_workers);
    }
    /// Replaces all workers by new ones, one after the other: each serves until its successor is
    /// ready.
    void recycle() { detail::recycle_pool(*core_); }

    /// Why a worker could not be started last, in words; empty as long as all could.
    [[nodiscard]] const std::string& explanation() const noexcept
    {
        return detail::explanation_of(*core_);
    }
    /// The processes of the workers that there are.
    [[nodiscard]] std::vector<pid_t> workers() const { return detail::workers_of(*core_); }

    /// What it does now, and has done since it was made.
    /// @par Cost   A look at each worker; a copy of a kilobyte.
    [[nodiscard]] pool_metrics metrics() const { return detail::metrics_of(*core_); }

    /// Ends the pool: takes nothing more, runs what it has, cancels what takes too long, and kills
    /// what is left; all of that within `budget`. `max()`: waits for all tasks.
    /// @par Completion    void(error_code): nothing of the pool lives.
    /// @par Errors        `operation_aborted`
    /// @par Cancellation  terminal, partial and total: the wait ends, the pool stops all the same.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_stop(std::chrono::nanoseconds budget, Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code)>(
            [](auto handler, const std::shared_ptr<detail::pool_core>& core,
               std::chrono::nanoseconds most) {
                detail::stop_pool(*core, most, std::move(handler));
            },
            token, core_, budget);
    }

    /// @private
    [[nodiscard]] const std::shared_ptr<detail::pool_core>& core() const noexcept { return core_; }

private:
    using typed_task = detail::typed_pool_task<Response>;
    using typed_stream = detail::typed_pool_stream<Response>;

    template <class Task>
    [[nodiscard]] static std::shared_ptr<Task> make_task(const detail::pool_core& core)
    {
        // Not make_shared, which writes zeros over all of it before its members are made.
        auto task = std::make_shared_for_overwrite<Task>();
        task->executor = detail::executor_of(core);
        return task;
    }

    std::shared_ptr<detail::pool_core> core_;
};

/// To the workers of a pool, each with all that it has started: a target of async_forward_signals.
/// A worker that ends of it is replaced, as always; to end the pool there is async_stop().
/// @par Lifetime   May outlive the pool; it does nothing then.
class PROCYARD_RUNTIME_EXPORT to_pool {
public:
    template <class Request, class Response>
    explicit to_pool(const process_pool<Request, Response>& to) noexcept : core_(to.core())
    {
    }
    void operator()(const signal_info& info, error_code& ec) const;

private:
    std::weak_ptr<detail::pool_core> core_;
};

PROCYARD_NAMESPACE_END

#endif

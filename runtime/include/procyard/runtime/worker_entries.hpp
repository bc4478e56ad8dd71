// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_WORKER_ENTRIES_HPP
#define PROCYARD_RUNTIME_WORKER_ENTRIES_HPP

#include <boost/asio/awaitable.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/pool_job.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What is done in a worker before its first task: tables are read, connections made. A worker that
/// is warming up is not ready; if this throws, it never is, and the pool tells what it threw.
using worker_warm_up = std::function<asio::awaitable<void>()>;

namespace detail {

// A handler without its types.
class pool_handler {
public:
    pool_handler() = default;
    pool_handler(const pool_handler&) = delete;
    pool_handler& operator=(const pool_handler&) = delete;
    virtual ~pool_handler() = default;

    [[nodiscard]] virtual const type_description& request() const = 0;
    [[nodiscard]] virtual const type_description& response() const = 0;
    [[nodiscard]] virtual bool is_coroutine() const noexcept = 0;
    // One that is none: answers, or throws what the user's function throws.
    virtual void run(pool_job& what, std::span<const std::byte> request) = 0;
    // One that is: the same. The bytes need not live longer than the call.
    [[nodiscard]] virtual asio::awaitable<void> start(pool_job what,
                                                      std::span<const std::byte> request) = 0;
};

PROCYARD_RUNTIME_EXPORT void answer_job(const pool_job& what, const answer_writer& response);
// Of a task whose items were all it had to say.
PROCYARD_RUNTIME_EXPORT void end_job(const pool_job& what);
// Throws what says that the bytes are no such request.
[[noreturn]] PROCYARD_RUNTIME_EXPORT void refuse_request(const type_description& type);

template <class Request>
[[nodiscard]] Request decode_request(std::span<const std::byte> bytes)
{
    Request request{};
    if (!decode_message(bytes, request))
        refuse_request(describe<Request>());
    return request;
}

template <class Function, class Request, class Response>
concept plain_worker_function = requires(Function& f, const Request& request) {
    { f(request) } -> std::convertible_to<Response>;
};
template <class Function, class Request, class Response>
concept job_worker_function = requires(Function& f, const Request& request, pool_job& j) {
    { f(request, j) } -> std::convertible_to<Response>;
};
template <class Function, class Request, class Response>
concept coroutine_worker_function = requires(Function& f, Request request, pool_job j) {
    { f(std::move(request), j) } -> std::same_as<asio::awaitable<Response>>;
};
template <class Function, class Request>
concept stream_worker_function = requires(Function& f, Request request, pool_job j) {
    { f(std::move(request), j) } -> std::same_as<asio::awaitable<void>>;
};

template <class Function, class Request, class Response>
concept worker_function = plain_worker_function<Function, Request, Response>
    || job_worker_function<Function, Request, Response>
    || coroutine_worker_function<Function, Request, Response>
    || stream_worker_function<Function, Request>;

template <class Request, class Response, class Function>
class typed_pool_handler final : public pool_handler {
    static constexpr bool gives_items = stream_worker_function<Function, Request>;

public:
    explicit typed_pool_handler(Function function) : function_(std::move(function)) { }

    [[nodiscard]] const type_description& request() const override { return describe<Request>(); }
    [[nodiscard]] const type_description& response() const override { return describe<Response>(); }
    [[nodiscard]] bool is_coroutine() const noexcept override
    {
        return gives_items || coroutine_worker_function<Function, Request, Response>;
    }

    void run(pool_job& what, std::span<const std::byte> bytes) override
    {
        [[maybe_unused]] const auto request = decode_request<Request>(bytes);
        if constexpr (job_worker_function<Function, Request, Response>) {
            const Response response = function_(request, what);
            answer_job(what, writer_of(response));
        } else if constexpr (plain_worker_function<Function, Request, Response>) {
            const Response response = function_(request);
            answer_job(what, writer_of(response));
        }
    }

    asio::awaitable<void> start(pool_job what, std::span<const std::byte> bytes) override
    {
        return run_coroutine(std::move(what), decode_request<Request>(bytes));
    }

private:
    asio::awaitable<void> run_coroutine([[maybe_unused]] pool_job what,
                                        [[maybe_unused]] Request request)
    {
        if constexpr (gives_items) {
            co_await function_(std::move(request), what);
            end_job(what);
        } else if constexpr (coroutine_worker_function<Function, Request, Response>) {
            const Response response = co_await function_(std::move(request), what);
            answer_job(what, writer_of(response));
        }
        co_return;
    }

    Function function_;
};

}  // namespace detail

/// What this program does when a process_pool has started it: functions with names.
///
/// Put it at the beginning of main(), before threads are started and other arguments are looked at:
/// in a worker everything happens within run_if_worker().
///
/// A handler is called with a request, and optionally with the job that it belongs to:
/// - `Response handler(const Request&)` or `Response handler(const Request&, pool_job&)`: one task
///   at a time, in the worker's loop, which hears nothing meanwhile;
/// - `awaitable<Response> handler(Request, pool_job)`: as many at once as the pool's options say;
/// - `awaitable<void> handler(Request, pool_job)`: for streams; gives items by
///   pool_job::async_yield.
///
/// One that throws fails its task, with the text of what it has thrown, and nothing else.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Example         @snippet examples/guide/pooling.cpp worker
class PROCYARD_RUNTIME_EXPORT worker_entries {
public:
    worker_entries();
    worker_entries(worker_entries&&) noexcept;
    worker_entries& operator=(worker_entries&&) noexcept;
    ~worker_entries();

    /// Adds an entry.
    /// @throws std::invalid_argument   without a name, or when there is one of that name
    template <decodable_message Request, encodable_message Response,
              detail::worker_function<Request, Response> Handler>
        requires(!borrows_message<Request>)
    void add(std::string name, Handler handler, worker_warm_up warm_up = {})
    {
        using typed = detail::typed_pool_handler<Request, Response, Handler>;
        add_erased(std::move(name), std::make_unique<typed>(std::move(handler)),
                   std::move(warm_up));
    }

    /// In a process that a pool has started: works until the pool has no more work for it, or is
    /// gone, and says what main() has to return. Else empty.
    ///
    /// What has gone wrong is said to standard error, which the pool keeps.
    /// @par Process-wide effects   Removes the environment variable by which it knows.
    [[nodiscard]] std::optional<int> run_if_worker();

private:
    struct entry {
        std::string name;
        std::unique_ptr<detail::pool_handler> handler;
        worker_warm_up warm_up;
    };

    void add_erased(std::string name, std::unique_ptr<detail::pool_handler> handler,
                    worker_warm_up warm_up);
    [[nodiscard]] std::string names() const;

    std::vector<entry> entries_;
};

PROCYARD_NAMESPACE_END

#endif

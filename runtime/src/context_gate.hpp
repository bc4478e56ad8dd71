// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CONTEXT_GATE_HPP
#define PROCYARD_RUNTIME_SRC_CONTEXT_GATE_HPP

#include <boost/asio/any_io_executor.hpp>

#include <unistd.h>

#include <condition_variable>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Whether a context is still there, for threads that do not run it and want to post something into
// it. Who is inside keeps it: its destructor waits until they have left. Inside one posts, and
// does nothing that takes long, runs foreign code, or ends a context.
//
// Rejected: work that keeps the context. It keeps run(), and not the object.
class context_gate {
public:
    // What lives in the context, whoever else refers to it.
    class tenant {
    public:
        tenant() = default;
        tenant(const tenant&) = delete;
        tenant& operator=(const tenant&) = delete;
        virtual ~tenant() = default;
        // The last moment in which it may touch the context. Nobody is inside.
        virtual void on_context_gone() noexcept = 0;
    };
    using tenants = std::list<std::shared_ptr<tenant>>;

    class entry {
    public:
        explicit entry(context_gate* gate) noexcept : gate_(gate) { }
        entry(const entry&) = delete;
        entry& operator=(const entry&) = delete;
        ~entry()
        {
            if (gate_ != nullptr)
                gate_->leave();
        }
        // Not: the context has gone, or is going.
        [[nodiscard]] explicit operator bool() const noexcept { return gate_ != nullptr; }

    private:
        context_gate* gate_;
    };

    // The gate of the executor's context, made by the first call: from where the context is known
    // to live.
    [[nodiscard]] static std::shared_ptr<context_gate> of(const asio::any_io_executor& ex);

    // Never waits.
    [[nodiscard]] entry enter() noexcept;

    // In a turn of the context.
    [[nodiscard]] tenants::iterator take_in(std::shared_ptr<tenant> who);
    void let_out(tenants::iterator place) noexcept;

private:
    class service;

    void leave() noexcept;
    void close() noexcept;

    // A copy by fork has none of the threads that were inside.
    const pid_t owner_ = ::getpid();
    std::mutex mutex_;
    std::condition_variable left_;
    std::size_t inside_ = 0;
    bool closed_ = false;
    tenants tenants_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

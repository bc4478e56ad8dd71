// SPDX-License-Identifier: BSL-1.0
#include "context_gate.hpp"

#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Goes down before the scheduler, which is a context's first service: until then one may post.
class context_gate::service final : public asio::execution_context::service {
public:
    using key_type = service;
    static asio::execution_context::id id;

    explicit service(asio::execution_context& owner) : asio::execution_context::service(owner) { }

    [[nodiscard]] const std::shared_ptr<context_gate>& gate() const noexcept { return gate_; }

private:
    void shutdown() override { gate_->close(); }

    std::shared_ptr<context_gate> gate_ = std::make_shared<context_gate>();
};

asio::execution_context::id context_gate::service::id;

std::shared_ptr<context_gate> context_gate::of(const asio::any_io_executor& ex)
{
    return asio::use_service<service>(asio::query(ex, asio::execution::context)).gate();
}

context_gate::entry context_gate::enter() noexcept
{
    const std::lock_guard lock(mutex_);
    if (closed_)
        return entry(nullptr);
    ++inside_;
    return entry(this);
}

void context_gate::leave() noexcept
{
    const std::lock_guard lock(mutex_);
    if (--inside_ == 0)
        left_.notify_all();
}

context_gate::tenants::iterator context_gate::take_in(std::shared_ptr<tenant> who)
{
    tenants added;
    added.push_back(std::move(who));
    const auto place = added.begin();
    const std::lock_guard lock(mutex_);
    tenants_.splice(tenants_.end(), added);
    return place;
}

void context_gate::let_out(tenants::iterator place) noexcept
{
    tenants out;  // destroyed outside the lock
    const std::lock_guard lock(mutex_);
    if (!closed_)  // else it is not in there any more, and all of them go
        out.splice(out.end(), tenants_, place);
}

void context_gate::close() noexcept
{
    tenants last;
    {
        std::unique_lock lock(mutex_);
        closed_ = true;
        left_.wait(lock, [this] { return inside_ == 0 || owner_ != ::getpid(); });
        last.swap(tenants_);
    }
    for (const auto& one : last)
        one->on_context_gone();
}

}  // namespace detail

PROCYARD_NAMESPACE_END

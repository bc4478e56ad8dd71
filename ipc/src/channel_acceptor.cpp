// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/channel_acceptor.hpp>

#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/prefer.hpp>

#include <utility>

#include <procyard/ipc/unix_socket.hpp>

#include "acceptor_core.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

channel_accept::channel_accept(const asio::any_io_executor& io,
                               const asio::any_completion_executor& where)
    : io_work_(asio::prefer(io, asio::execution::outstanding_work.tracked)),
      handler_work_(asio::prefer(where, asio::execution::outstanding_work.tracked))
{
}

channel_accept::~channel_accept() = default;

channel_acceptor::channel_acceptor(const asio::any_io_executor& ex)
    : core_(std::make_shared<acceptor_core>(ex))
{
}

channel_acceptor::channel_acceptor(channel_acceptor&& other) noexcept = default;

channel_acceptor& channel_acceptor::operator=(channel_acceptor&& other) noexcept
{
    if (this != &other) {
        close();
        core_ = std::move(other.core_);
    }
    return *this;
}

channel_acceptor::~channel_acceptor()
{
    close();
}

void channel_acceptor::listen(const channel_address& address, const end_plan& plan,
                              channel_listen_options options, error_code& ec)
{
    core_->listen(address, plan, std::move(options), ec);
}

void channel_acceptor::close() noexcept
{
    if (core_)
        core_->close();
}

bool channel_acceptor::is_open() const noexcept
{
    return core_ && core_->is_open();
}

std::string channel_acceptor::path() const
{
    return core_ ? core_->path() : std::string();
}

channel_listener_statistics channel_acceptor::statistics() const
{
    return core_ ? core_->statistics() : channel_listener_statistics{};
}

asio::any_io_executor channel_acceptor::get_executor() const
{
    return executor_of(core_);
}

void start_accept(const std::shared_ptr<acceptor_core>& core,
                  std::shared_ptr<channel_accept> operation, asio::cancellation_slot slot)
{
    core->start(std::move(operation), slot);
}

asio::any_io_executor executor_of(const std::shared_ptr<acceptor_core>& core)
{
    PROCYARD_ASSERT(core && "a listener that was moved from has no operations");
    return core->executor();
}

void throw_if_at(const error_code& ec, const char* what, const channel_address& address)
{
    throw_if_named(ec, what, (address.is_abstract() ? "@" : "") + address.name());
}

}  // namespace detail

PROCYARD_NAMESPACE_END

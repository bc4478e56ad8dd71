// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/socket_operation.hpp>

#include <boost/asio/error.hpp>

#include <utility>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

socket_operation::socket_operation(socket_ref socket, asio::socket_base::wait_type what,
                                   asio::any_completion_executor where)
    : socket_(std::move(socket)),
      what_(what),
      where_(std::move(where))
{
}

socket_operation::~socket_operation() = default;

void socket_operation::start(asio::cancellation_slot slot)
{
    if (slot.is_connected())
        slot.assign([self = weak_from_this()](asio::cancellation_type type) {
            const auto alive = self.lock();
            if (alive && type != asio::cancellation_type::none)
                alive->cancel();
        });
    wait();
}

void socket_operation::wait()
{
    waiting_ = true;
    socket_.async_wait(what_, where_, wake_.slot(), shared_from_this());
}

void socket_operation::woken(std::shared_ptr<socket_operation> self, error_code ec)
{
    auto& operation = *self;
    operation.waiting_ = false;
    if (operation.aborted_) {
        ec = asio::error::operation_aborted;
    } else if (!ec) {  // after an error the socket may be gone
        const int fd = operation.socket_.native_handle();
        ec = fd == -1 ? error_code(asio::error::operation_aborted) : operation.attempt(fd);
        if (ec == asio::error::would_block)
            return operation.wait();
    }
    operation.finish(std::move(self), ec);
}

void socket_operation::cancel() noexcept
{
    aborted_ = true;
    if (waiting_)
        wake_.emit(asio::cancellation_type::terminal);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/stream_end.hpp>

#include <boost/system/system_error.hpp>

#include <utility>

#include "stream_core.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

const asio::any_io_executor& executor_of(const std::shared_ptr<stream_core>& core) noexcept
{
    PROCYARD_ASSERT(core && "a moved-from stream has no operations");
    return core->executor();
}

void start_transfer(const std::shared_ptr<stream_core>& core, stream_direction direction,
                    std::span<const iovec> buffers, transfer_handler handler, handler_place place)
{
    core->start(direction, buffers, std::move(handler), place);
}

void start_wait(const std::shared_ptr<stream_core>& core, stream_wait what, wait_handler handler,
                handler_place place)
{
    core->start(what, std::move(handler), place);
}

stream_end::stream_end(asio::any_io_executor ex, stream_direction direction)
    : core_(std::make_shared<stream_core>(ex, direction))
{
}

stream_end& stream_end::operator=(stream_end&& other) noexcept
{
    if (this != &other) {
        close();
        core_ = std::move(other.core_);
    }
    return *this;
}

stream_end::~stream_end()
{
    close();
}

stream_end::executor_type stream_end::get_executor() const noexcept
{
    PROCYARD_ASSERT(core_ && "a moved-from stream has no executor");
    return core_->executor();
}

void stream_end::assign(unique_fd fd, error_code& ec)
{
    PROCYARD_ASSERT(core_ && "a moved-from stream has no executor to work on");
    core_->assign(std::move(fd), ec);
}

void stream_end::assign(unique_fd fd)
{
    error_code ec;
    assign(std::move(fd), ec);
    throw_if(ec, "assign");
}

bool stream_end::is_open() const noexcept
{
    return native_handle() >= 0;
}

int stream_end::native_handle() const noexcept
{
    return core_ ? core_->native_handle() : -1;
}

void stream_end::close() noexcept
{
    if (core_)
        core_->close();
}

void stream_end::keep_connected() noexcept
{
    PROCYARD_ASSERT(core_ && "a moved-from stream has no connection");
    core_->keep_connected();
}

void stream_end::cancel() noexcept
{
    if (core_)
        core_->cancel();
}

unique_fd stream_end::release() noexcept
{
    return core_ ? core_->release() : unique_fd{};
}

void stream_end::count_bytes_into(std::shared_ptr<std::atomic<std::uint64_t>> total) noexcept
{
    PROCYARD_ASSERT(core_ && "a moved-from stream moves no bytes");
    core_->count_bytes_into(std::move(total));
}

std::size_t stream_end::try_transfer(std::span<const iovec> buffers, error_code& ec) noexcept
{
    PROCYARD_ASSERT(core_ && "a moved-from stream moves no bytes");
    const auto result = core_->try_transfer(buffers);
    ec = result.ec;
    return result.bytes;
}

std::size_t stream_end::transfer_blocking(std::span<const iovec> buffers, error_code& ec) noexcept
{
    PROCYARD_ASSERT(core_ && "a moved-from stream moves no bytes");
    const auto result = core_->transfer_blocking(buffers);
    ec = result.ec;
    return result.bytes;
}

void stream_end::throw_if(const error_code& ec, const char* what)
{
    if (ec)
        throw boost::system::system_error(ec, what);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/channel_end.hpp>

#include <boost/system/system_error.hpp>

#include <sys/socket.h>

#include <string>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unix_socket.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

[[noreturn]] void throw_about(const char* what, const channel_terms& terms, const error_code& ec)
{
    std::string text = what;
    if (!terms.options.name.empty())
        text += " \"" + std::string(terms.options.name.view()) + '"';
    throw boost::system::system_error(ec, text + " of " + terms.type->name);
}

}  // namespace

error_code check_options(const channel_options& options) noexcept
{
    const bool is_good = options.name.is_good() && options.full <= when_full::drop_oldest;
    return is_good ? error_code() : channel_errc::bad_option;
}

std::shared_ptr<channel_core> open_end(const asio::any_io_executor& ex, ring_role role,
                                       unique_fd socket, const channel_terms& terms, error_code& ec)
{
    if (!socket) {
        ec = make_errno(EBADF);
        return nullptr;
    }
    ec = check_options(terms.options);
    if (ec)
        return nullptr;
    return channel_core::open(ex, role, std::move(socket), terms, ec);
}

std::shared_ptr<channel_core> open_end(const asio::any_io_executor& ex, ring_role role,
                                       unique_fd socket, const channel_terms& terms)
{
    error_code ec;
    auto core = open_end(ex, role, std::move(socket), terms, ec);
    if (ec)
        throw_about("open channel", terms, ec);
    return core;
}

unique_fd resume_end(channel_core& core)
{
    error_code ec;
    auto socket = core.resume(ec);
    if (ec)
        throw_about("resume channel", core.terms(), ec);
    return socket;
}

std::pair<unique_fd, unique_fd> make_hello_sockets(const channel_terms& terms, error_code& ec)
{
    (void)ring_memory::size_bytes(ring_role::producer, terms.shape, ec);
    if (!ec)
        ec = check_options(terms.options);
    if (ec)
        return {};
    // Messages are kept apart, so that a hello is one; and a connection has an end that is told.
    auto sockets = make_raw_socket_pair(SOCK_SEQPACKET, ec);
    return {std::move(sockets.first), std::move(sockets.second)};
}

std::pair<unique_fd, unique_fd> make_hello_sockets(const channel_terms& terms)
{
    error_code ec;
    auto sockets = make_hello_sockets(terms, ec);
    if (ec)
        throw_about("make channel", terms, ec);
    return sockets;
}

channel_end& channel_end::operator=(channel_end&& other) noexcept
{
    if (this != &other) {
        close();
        core_ = std::move(other.core_);
    }
    return *this;
}

channel_end::~channel_end()
{
    close();
}

void channel_end::close() noexcept
{
    if (core_)
        core_->close();
}

void channel_end::cancel() noexcept
{
    if (core_)
        core_->cancel();
}

channel_statistics channel_end::statistics() const noexcept
{
    return core_ ? core_->statistics() : channel_statistics{};
}

std::string channel_end::explanation() const
{
    return core_ ? core_->explanation() : std::string();
}

}  // namespace detail

PROCYARD_NAMESPACE_END

// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/broadcast_end.hpp>

#include <boost/system/system_error.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void throw_broadcast(const error_code& ec, const char* what, const type_description& type)
{
    throw boost::system::system_error(ec, what + type.name);
}

broadcast_writer_end::broadcast_writer_end(const asio::any_io_executor& ex,
                                           const broadcast_terms& terms)
{
    error_code ec;
    core_ = broadcast_writer_core::open(ex, terms, ec);
    if (ec)
        throw_broadcast(ec, "make broadcast of ", *terms.type);
}

broadcast_writer_end& broadcast_writer_end::operator=(broadcast_writer_end&& other) noexcept
{
    if (this != &other) {
        close();
        core_ = std::move(other.core_);
    }
    return *this;
}

broadcast_writer_end::~broadcast_writer_end()
{
    close();
}

void broadcast_writer_end::close() noexcept
{
    if (core_)
        core_->close();
}

void broadcast_writer_end::cancel() noexcept
{
    if (core_)
        core_->cancel();
}

channel_statistics broadcast_writer_end::statistics() const noexcept
{
    return core_ ? core_->statistics() : channel_statistics{};
}

broadcast_reader_end::broadcast_reader_end(const asio::any_io_executor& ex, unique_fd socket,
                                           const channel_options& options, broadcast_terms terms,
                                           error_code& ec)
{
    terms.spin = options.spin;
    terms.max_peer_bytes = options.max_peer_bytes;
    terms.bell = options.across_users ? doorbell_kind::socket : doorbell_kind::pipe;
    core_ = broadcast_reader_core::open(ex, std::move(socket), terms, explanation_, ec);
}

broadcast_reader_end::broadcast_reader_end(const asio::any_io_executor& ex, unique_fd socket,
                                           const channel_options& options,
                                           const broadcast_terms& terms)
{
    error_code ec;
    *this = broadcast_reader_end(ex, std::move(socket), options, terms, ec);
    if (!ec)
        return;
    auto what = "open subscription to " + terms.type->name;
    if (!explanation_.empty())
        what += " (" + explanation_ + ')';
    throw boost::system::system_error(ec, what);
}

broadcast_reader_end& broadcast_reader_end::operator=(broadcast_reader_end&& other) noexcept
{
    if (this != &other) {
        close();
        core_ = std::move(other.core_);
        explanation_ = std::move(other.explanation_);
    }
    return *this;
}

broadcast_reader_end::~broadcast_reader_end()
{
    close();
}

void broadcast_reader_end::close() noexcept
{
    if (core_)
        core_->close();
}

void broadcast_reader_end::cancel() noexcept
{
    if (core_)
        core_->cancel();
}

channel_statistics broadcast_reader_end::statistics() const noexcept
{
    return core_ ? core_->statistics() : channel_statistics{};
}

}  // namespace detail

PROCYARD_NAMESPACE_END

// SPDX-License-Identifier: BSL-1.0
#include "notifier_core.hpp"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <string_view>

#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/detail/socket_operation.hpp>
#include <procyard/ipc/syscall.hpp>

#include "manager_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

struct notice_access {
    static const auto& descriptors(const service_notice& notice) noexcept
    {
        return notice.descriptors_;
    }
};

namespace {

constexpr std::size_t longest_message = 4096;  // systemd's NOTIFY_BUFFER_MAX

using notify_handler = asio::any_completion_handler<void(error_code)>;

class send_notice final : public socket_operation {
public:
    send_notice(std::shared_ptr<notifier_core> core, std::shared_ptr<const outgoing_notice> what,
                notify_handler handler)
        : socket_operation(socket_ref(core->socket(), core), asio::socket_base::wait_write,
                           asio::get_associated_executor(handler, core->executor())),
          core_(std::move(core)),
          what_(std::move(what)),
          handler_(std::move(handler))
    {
    }

    void launch() { start(handler_.get_cancellation_slot()); }

private:
    error_code attempt(int) noexcept override { return core_->send(*what_); }

    void finish(std::shared_ptr<socket_operation> self, const error_code& ec) override
    {
        auto handler = std::move(handler_);
        const auto result = ec;
        self.reset();
        std::move(handler)(result);
    }

    const std::shared_ptr<notifier_core> core_;
    const std::shared_ptr<const outgoing_notice> what_;
    notify_handler handler_;
};

unix_datagram::endpoint address_of(const std::string& socket)
{
    if (socket.empty())
        return {};
    return socket.front() == '@'
        ? unix_abstract_endpoint<unix_datagram>(std::string_view(socket).substr(1))
        : unix_path_endpoint<unix_datagram>(socket);
}

}  // namespace

shared_socket::~shared_socket()
{
    if (!socket_.is_open())
        return;
    // Not close(): a child of ours may hold a copy of the table for a moment, and the registration
    // in epoll would outlive it.
    error_code ignored;
    const unique_fd gone(socket_.release(ignored));
}

void shared_socket::assign(unique_fd fd, error_code& ec)
{
    socket_.assign(unix_datagram(), fd.get(), ec);
    if (ec)
        return;
    number_ = fd.release();
    closed_ = false;
}

void shared_socket::close() noexcept
{
    const std::lock_guard lock(mutex_);
    closed_ = true;
    cancel();
}

void shared_socket::cancel() noexcept
{
    error_code ignored;
    if (socket_.is_open())
        socket_.cancel(ignored);
}

notifier_attendant::~notifier_attendant() = default;

outgoing_notice::outgoing_notice(const service_notice& notice)
    : text(notice.text()),
      owned(notice_access::descriptors(notice))
{
    for (const auto& one : owned)
        descriptors.push_back(one->get());
}

outgoing_notice::outgoing_notice(std::string what, unique_fd descriptor) : text(std::move(what))
{
    owned.push_back(std::make_shared<const unique_fd>(std::move(descriptor)));
    descriptors.push_back(owned.back()->get());
}

error_code outgoing_notice::fault() const noexcept
{
    if (text.empty())
        return make_errno(EINVAL);
    return text.size() > longest_message ? make_errno(EMSGSIZE) : error_code();
}

notifier_core::notifier_core(const asio::any_io_executor& ex, service_manager manager)
    : executor_(ex),
      manager_(std::move(manager)),
      address_(address_of(manager_.socket)),
      socket_(ex)
{
    if (!is_supervised())
        return;
    error_code ec;
    auto made = make_unix_socket(SOCK_DGRAM, ec);
    if (!ec)
        socket_.assign(std::move(made), ec);
    if (!ec)
        connect(ec);
    if (ec)
        throw boost::system::system_error(ec,
                                          std::string("service_notifier: ") + notify_socket_variable
                                              + "=\"" + manager_.socket + '"');
}

// A datagram socket's is never waited for.
void notifier_core::connect(error_code& ec) noexcept
{
    const int result = retry_eintr([this] {
        return ::connect(socket_.native_handle(), address_.data(),
                         static_cast<socklen_t>(address_.size()));
    });
    ec = result == 0 ? error_code() : last_error();
}

error_code notifier_core::send(const outgoing_notice& what) noexcept
{
    error_code ec;
    const auto bytes = std::as_bytes(std::span(what.text));
    (void)try_send_descriptors(socket_.native_handle(), bytes, what.descriptors, ec);
    // ENOTCONN: it was refused before, and to connect again has failed.
    if (ec != make_errno(ECONNREFUSED) && ec != make_errno(ENOTCONN))
        return ec;
    // A manager that was started again has another socket under the same name.
    connect(ec);
    if (!ec)
        (void)try_send_descriptors(socket_.native_handle(), bytes, what.descriptors, ec);
    return ec;
}

void notifier_core::attend(std::weak_ptr<notifier_attendant> one)
{
    std::erase_if(attendants_, [](const auto& other) { return other.expired(); });
    attendants_.push_back(std::move(one));
}

void notifier_core::close() noexcept
{
    for (const auto& one : std::exchange(attendants_, {})) {
        if (const auto attendant = one.lock())
            attendant->abandon();
    }
    socket_.close();
}

void start_sending(const std::shared_ptr<notifier_core>& core,
                   std::shared_ptr<const outgoing_notice> what, notify_handler handler)
{
    const auto fault = what->fault();
    if (fault || !core->is_supervised()) {
        pending<void(error_code)>(core->executor(), std::move(handler)).complete(fault);
        return;
    }
    std::make_shared<send_notice>(core, std::move(what), std::move(handler))->launch();
}

}  // namespace detail

PROCYARD_NAMESPACE_END

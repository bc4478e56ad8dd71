// SPDX-License-Identifier: BSL-1.0
#include "acceptor_core.hpp"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/socket_base.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/detail/channel_end.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>
#include <procyard/ipc/syscall.hpp>

#include "connection_packet.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// How long an accept waits after one that the kernel had no descriptor for.
constexpr std::chrono::milliseconds pause_after_failure{100};
// And when all places are taken, by clients that have just come.
constexpr std::chrono::milliseconds pause_for_room{10};

using guard = std::lock_guard<std::mutex>;

// Whether there can be such channels.
void check(const end_plan& plan, error_code& ec) noexcept
{
    ec.clear();
    if (plan.is_offered)
        return;  // what there is, is the program's business
    for (const auto* const terms : {&plan.sends, &plan.receives}) {
        if (!ec && *terms)
            ec = check_options((*terms)->options);
        if (!ec && *terms)
            (void)ring_memory::size_bytes(ring_role::producer, (*terms)->shape, ec);
    }
}

unique_fd listen_at(const channel_address& address, const unix_listen_options& options,
                    owned_name& name, error_code& ec)
{
    constexpr int type = SOCK_SEQPACKET;
    if (!address.is_abstract())
        return bind_socket_file(address.name(), type, options.permissions, options.backlog, name,
                                ec);
    const auto endpoint = unix_abstract_endpoint<unix_seqpacket>(address.name(), ec);
    if (ec)
        return {};
    auto fd = make_unix_socket(type, ec);
    if (!ec
        && (::bind(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) == -1
            || ::listen(fd.get(), options.backlog) == -1))
        ec = last_error();
    return fd;
}

channel_refusal not_allowed(const unix_peer& peer)
{
    return {peer, channel_errc::refused,
            "process " + std::to_string(peer.pid) + " of user " + std::to_string(peer.uid)
                + " and group " + std::to_string(peer.gid) + " is not allowed"};
}

}  // namespace

// What the reactor and the executor hold.
struct acceptor_core::turn {
    std::shared_ptr<acceptor_core> core;
    operation_ptr operation;  // destroyed first: its handler may have the listener

    void operator()(const error_code&) { core->work(std::move(operation)); }
    void operator()() { core->work(std::move(operation)); }
};

struct acceptor_core::on_cancellation {
    std::weak_ptr<acceptor_core> core;
    std::weak_ptr<channel_accept> operation;

    void operator()(asio::cancellation_type type) const noexcept
    {
        const auto alive = core.lock();
        const auto pending = operation.lock();
        if (alive && pending && type != asio::cancellation_type::none)
            alive->abort(pending);
    }
};

acceptor_core::acceptor_core(const asio::any_io_executor& ex)
    : executor_(ex),
      owner_(::getpid()),
      socket_(ex),
      pause_(ex)
{
}

acceptor_core::~acceptor_core() = default;

void acceptor_core::listen(const channel_address& address, const end_plan& plan,
                           channel_listen_options options, error_code& ec)
{
    check(plan, ec);
    if (ec)
        return;
    close();
    options.max_handshakes = std::max<std::size_t>(options.max_handshakes, 1);
    auto told = std::make_shared<setup>(setup{plan, std::move(options)});
    owned_name name;
    auto fd = listen_at(address, told->options.socket, name, ec);
    const guard locked(mutex_);
    if (!ec)
        socket_.assign(unix_seqpacket(), fd.get(), ec);
    if (ec)
        return;
    (void)fd.release();  // the socket's now
    socket_.native_non_blocking(true, ec);
    if (ec) {
        error_code ignored;
        socket_.close(ignored);
        return;
    }
    name_ = std::move(name);
    setup_ = std::move(told);
}

// --- accepting ----------------------------------------------------------------------------------

void acceptor_core::start(operation_ptr operation, asio::cancellation_slot slot)
{
    if (slot.is_connected())
        slot.emplace<on_cancellation>(weak_from_this(), operation);
    const guard locked(mutex_);
    if (kept_ || !socket_.is_open())
        operation->failure_ = asio::error::bad_descriptor;
    else if (!pending_.expired())
        operation->failure_ = asio::error::already_started;
    else
        pending_ = operation;
    if (has_ended(*operation))
        asio::post(executor_, turn{shared_from_this(), operation});
    else
        wait(operation);
}

// Whether there is something to be told.
bool acceptor_core::has_ended(const channel_accept& operation) const
{
    return operation.aborted_ || operation.failure_ || !ready_.empty();
}

bool acceptor_core::is_paused() const
{
    return pause_.expiry() > std::chrono::steady_clock::now();
}

// The caller keeps it until the lock is gone: if there is no memory for this, it ends there.
void acceptor_core::wait(const operation_ptr& operation)
{
    turn next{shared_from_this(), operation};
    if (is_paused())
        pause_.async_wait(std::move(next));
    else
        socket_.async_wait(asio::socket_base::wait_read, std::move(next));
}

void acceptor_core::work(operation_ptr operation)
{
    try {
        take_clients(*operation);
        const guard locked(mutex_);
        if (!has_ended(*operation))
            return wait(operation);
    } catch (const std::bad_alloc&) {
        fail(*operation, make_error_code(boost::system::errc::not_enough_memory));
    } catch (const boost::system::system_error& e) {
        fail(*operation, e.code());
    }
    const auto where = operation->handler_work_;
    asio::dispatch(where, [self = shared_from_this(), operation = std::move(operation)]() mutable {
        self->finish(std::move(operation));
    });
}

// The accept says so, and the next one waits a little: what is missing is not there at once.
void acceptor_core::fail(channel_accept& operation, const error_code& why) noexcept
{
    const guard locked(mutex_);
    operation.failure_ = why;
    pause_.expires_after(pause_after_failure);
}

void acceptor_core::finish(operation_ptr operation)
{
    accepted_client taken;
    error_code ec;
    {
        const guard locked(mutex_);
        if (operation->aborted_)
            ec = asio::error::operation_aborted;
        else if (operation->failure_)
            ec = operation->failure_;
        else if (ready_.empty())
            return wait(operation);
        if (!ec) {
            taken = std::move(ready_.front());
            ready_.pop_front();
        }
        if (pending_.lock() == operation)
            pending_.reset();
    }
    auto& raw = *operation;
    raw.complete(std::move(operation), ec, std::move(taken));
}

void acceptor_core::abort(const operation_ptr& operation) noexcept
{
    const guard locked(mutex_);
    operation->aborted_ = true;
    if (pending_.lock() == operation)
        wake();
}

// The pending accept, if it waits: there is something for it to look at.
void acceptor_core::wake() noexcept
{
    error_code ignored;  // of a socket that is open
    socket_.cancel(ignored);
    pause_.cancel();
}

// --- clients ------------------------------------------------------------------------------------

// As many as there are places, or one, for which another has to go: never more in one turn, so that
// those who have got somewhere are heard before others come.
void acceptor_core::take_clients(channel_accept& operation)
{
    std::size_t most = 1;
    {
        const guard locked(mutex_);
        if (setup_ && setup_->options.max_handshakes > clients_.size())
            most = setup_->options.max_handshakes - clients_.size();
    }
    for (; most > 0; --most) {
        std::shared_ptr<setup> told;
        unique_fd connection;
        {
            const guard locked(mutex_);
            told = setup_;
            connection = take_connection(operation);
        }
        if (!connection)
            return;
        try {
            look_at(std::move(connection), told);
        } catch (const std::bad_alloc&) {  // the client's loss, and not the accept's
            const guard locked(mutex_);
            count(connection_status::unavailable);
        }
    }
}

unique_fd acceptor_core::take_connection(channel_accept& operation)
{
    if (has_ended(operation) || is_paused())
        return {};
    if (client_ptr leaving; !find_room(leaving)) {
        pause_.expires_after(pause_for_room);
        return {};
    }
    error_code ec;
    auto connection = accept_now(socket_.native_handle(), ec);
    if (ec && ec != asio::error::would_block) {
        operation.failure_ = ec;
        pause_.expires_after(pause_after_failure);
    }
    return connection;
}

void acceptor_core::look_at(unique_fd connection, const std::shared_ptr<setup>& told)
{
    error_code ec;
    const auto peer = peer_credentials(connection.get(), ec);
    if (ec || !told->options.allowed.allows(peer))
        turn_away(connection, peer, told);
    else
        greet(std::move(connection), peer, told);
}

void acceptor_core::turn_away(const unique_fd& connection, const unix_peer& peer,
                              const std::shared_ptr<setup>& told)
{
    (void)send_status(connection.get(), connection_status::refused);
    {
        const guard locked(mutex_);
        count(connection_status::refused);
    }
    if (told->options.on_refusal)
        told->options.on_refusal(not_allowed(peer));
}

void acceptor_core::greet(unique_fd connection, const unix_peer& peer,
                          const std::shared_ptr<setup>& told)
{
    const auto client = std::make_shared<client_handshake>(
        executor_, std::move(connection), peer, std::shared_ptr<const end_plan>(told, &told->plan));
    std::vector<channel_refusal> gone;
    {
        const guard locked(mutex_);
        if (setup_ != told)
            return;  // closed meanwhile
        client_ptr leaving;
        if (find_room(leaving) && leaving)
            resume(leaving, accept_event::cut_off, gone);
        clients_.push_back(client);
        try {
            start_deadline(client);
            resume(client, accept_event::begun, gone);
        } catch (...) {
            lose(client);
            throw;
        }
    }
    for (const auto& refusal : gone)
        if (told->options.on_refusal)
            told->options.on_refusal(refusal);
}

void acceptor_core::start_deadline(const client_ptr& client)
{
    client->timer().expires_after(
        std::chrono::duration_cast<asio::steady_timer::duration>(setup_->options.deadline));
    client->timer().async_wait(
        [self = weak_from_this(), who = std::weak_ptr(client)](const error_code& ec) {
            const auto alive = self.lock();
            const auto late = who.lock();
            if (alive && late && !ec)
                alive->on_client(late, accept_event::too_late);
        });
}

// There is no memory to go on with it.
void acceptor_core::lose(const client_ptr& client) noexcept
{
    (void)client->resume(accept_event::cut_off);
    ++counts_.lost;
    client->timer().cancel();
    clients_.remove(client_ptr(client));
}

// Who has to go if one more comes: nobody while there are places; else the one that has been silent
// for longest, or, of those that have said something, the first, if it has had some time. None: the
// next one has to wait for that.
//
// Rejected: to let the next one wait whatever happens. A few clients that say nothing would keep
// all others out for as long as the deadline, again and again. And to cut off whoever is first:
// when many honest ones come at once, they would cut off each other.
bool acceptor_core::find_room(client_ptr& leaving) const
{
    leaving = nullptr;
    if (clients_.size() < setup_->options.max_handshakes)
        return true;
    const auto silent = std::find_if(clients_.begin(), clients_.end(),
                                     [](const client_ptr& each) { return each->is_silent(); });
    leaving = silent == clients_.end() ? clients_.front() : *silent;
    const auto left = leaving->timer().expiry() - std::chrono::steady_clock::now();
    return leaving->is_silent() || left < setup_->options.deadline / 10 * 9;
}

void acceptor_core::on_client(const client_ptr& client, accept_event event)
{
    std::vector<channel_refusal> gone;
    std::shared_ptr<setup> told;
    {
        const guard locked(mutex_);
        if (std::find(clients_.begin(), clients_.end(), client) == clients_.end())
            return;  // over, while this was on its way
        told = setup_;
        try {
            resume(client, event, gone);
        } catch (const std::bad_alloc&) {
            return lose(client);
        } catch (const boost::system::system_error&) {  // of a reactor that has no memory
            return lose(client);
        }
    }
    for (const auto& refusal : gone)
        if (told->options.on_refusal)
            told->options.on_refusal(refusal);
}

void acceptor_core::resume(const client_ptr& client, accept_event event,
                           std::vector<channel_refusal>& gone)
{
    switch (client->resume(event)) {
    case client_handshake::progress::waiting: return wait_for(client);
    case client_handshake::progress::ready:
        ready_.push_back(client->take());
        ++counts_.accepted;
        wake();
        break;
    case client_handshake::progress::over:
        gone.push_back(std::move(client->refusal()));
        count(client->status());
        break;
    }
    client->timer().cancel();
    clients_.remove(client_ptr(client));
}

void acceptor_core::wait_for(const client_ptr& client)
{
    client->watched().async_wait(
        asio::posix::descriptor_base::wait_read,
        [self = weak_from_this(), who = std::weak_ptr(client)](const error_code& ec) {
            const auto alive = self.lock();
            const auto speaking = who.lock();
            if (alive && speaking && !ec)
                alive->on_client(speaking, accept_event::begun);
        });
}

void acceptor_core::count(connection_status why) noexcept
{
    switch (why) {
    case connection_status::refused: ++counts_.refused; break;
    case connection_status::too_slow: ++counts_.too_slow; break;
    case connection_status::accepted:  // it has hung up
    case connection_status::unavailable: ++counts_.lost; break;
    default: ++counts_.unfit; break;
    }
}

// --- ending -------------------------------------------------------------------------------------

void acceptor_core::close() noexcept
{
    if (owner_ != ::getpid()) {
        kept_ = shared_from_this();
        return;
    }
    // Let go of after the lock.
    std::list<client_ptr> clients;
    std::deque<accepted_client> ready;
    operation_ptr pending;
    std::shared_ptr<setup> told;
    const guard locked(mutex_);
    name_ = {};  // while the socket is open nobody else takes the name
    for (const auto& client : clients_) {
        (void)client->resume(accept_event::cut_off);
        count(connection_status::unavailable);
    }
    clients.swap(clients_);
    ready.swap(ready_);
    told.swap(setup_);
    pending = pending_.lock();
    if (pending)
        pending->aborted_ = true;
    pending_.reset();
    error_code ignored;  // there is nothing left to be done about it
    socket_.close(ignored);
    pause_.cancel();
}

bool acceptor_core::is_open() const noexcept
{
    if (kept_)
        return false;
    const guard locked(mutex_);
    return socket_.is_open();
}

std::string acceptor_core::path() const
{
    const guard locked(mutex_);
    return name_.path();
}

channel_listener_statistics acceptor_core::statistics() const
{
    const guard locked(mutex_);
    auto now = counts_;
    now.pending = clients_.size();
    now.ready = ready_.size();
    return now;
}

}  // namespace detail

PROCYARD_NAMESPACE_END

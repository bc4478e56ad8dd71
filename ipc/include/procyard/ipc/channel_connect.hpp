// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CHANNEL_CONNECT_HPP
#define PROCYARD_IPC_CHANNEL_CONNECT_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <memory>
#include <string>
#include <utility>

#include <procyard/ipc/channel_address.hpp>
#include <procyard/ipc/channel_connect_options.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/connectable_end.hpp>
#include <procyard/ipc/detail/channel_connector.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

template <class End>
class connector_of final : public channel_connector {
public:
    using handler_type = asio::any_completion_handler<void(error_code, End)>;

    connector_of(const asio::any_io_executor& ex, channel_address address,
                 channel_connect_options options, connect_failure* failure, handler_type handler)
        : channel_connector(ex, asio::get_associated_executor(handler, ex), std::move(address),
                            options, end_kind<End>::plan(options.channel), failure),
          handler_(std::move(handler))
    {
    }
    void launch() { start(handler_.get_cancellation_slot()); }

private:
    void make_end(const asio::any_io_executor& ex, unique_fd socket, const channel_options& options,
                  error_code& ec, std::string& explanation) override
    {
        if constexpr (given_end<End>) {
            end_ = End(ex, unopened<End>(std::move(socket), options), ec);
            if (!ec)
                ec = end_.failure();
            if (ec)
                explanation = end_.explanation();
        }
    }
    [[nodiscard]] End take(end_cores cores, bool has_failed)
    {
        if constexpr (!given_end<End>)
            return end_kind<End>::make(std::move(cores));
        else
            return has_failed ? End() : std::move(end_);
    }
    void complete(std::shared_ptr<channel_connector> self, const error_code& ec,
                  end_cores cores) override
    {
        auto end = take(std::move(cores), ec.failed());
        auto handler = std::move(handler_);
        const auto result = ec;
        self.reset();
        std::move(handler)(result, std::move(end));
    }

    handler_type handler_;
    End end_{};  // of one that is opened of a descriptor
};

template <class End>
struct initiate_channel_connect {
    template <class Handler>
    void operator()(Handler handler, const asio::any_io_executor& ex, channel_address address,
                    channel_connect_options options, connect_failure* failure) const
    {
        std::make_shared<connector_of<End>>(ex, std::move(address), std::move(options), failure,
                                            std::move(handler))
            ->launch();
    }
};

}  // namespace detail

/// Gets the other end of a channel from a channel_listener, in whatever process it is, or from an
/// end_listener whatever that gives out.
///
/// `End` is the opposite of the channel_listener's: a `sender<T>` where that has a `receiver<T>`, a
/// `duplex<A, B>` where that has a `duplex<B, A>`. Of an end_listener it is the same: a
/// `subscriber<T>`, `latest_reader<T>`, `work_source<T>`, or an end of a channel, which may be one
/// that another process has had before (`options.ticket`). The end is connected, and the listener
/// has its own, though nobody may have accepted it yet: messages wait for that. The socket is
/// closed; the death of the peer is told by the channel.
/// @par Completion signature   `void(error_code, End)`; an end that is not open when `ec` is set.
/// @par Errors   `channel_errc::bad_option`: an option that no channel can have, before anything
///               has happened; or, later, a sender that drops the oldest where
///               `options.channel.full` does not allow it. `socket_errc::name_too_long`,
///               `bad_name`. ENOENT, ENOTDIR, ELOOP: nobody has that name; ECONNREFUSED: nobody
///               listens there, and of an abstract name also that nobody has it; EACCES: not by the
///               permissions of the socket file or its directories; EPROTOTYPE: a socket of another
///               kind; ECONNRESET: the listener has gone meanwhile.
///               Told by the listener: `channel_errc::refused`: it does not let this process in, or
///               its program says so (end_request::refuse()); `other_type`; `other_direction`: an
///               end of another kind included; `other_version`; `bad_hello`: it has not understood
///               this side; `over_limit`, `too_slow`, `unavailable`.
///               Found out here: `refused`: the listener is not allowed; `other_type`,
///               `other_direction`, `other_version`, `over_limit`. Of who does not keep to the
///               protocol, and is no listener of ours: `bad_hello`, `not_a_channel`, `bad_shape`,
///               `already_taken`, `peer_broke_rules`; those of segment::attach; EBADMSG, ENOTSOCK,
///               ENOTCONN: what it has passed is something else. EMFILE, ENFILE, ENOMEM, ENOBUFS,
///               ETOOMANYREFS; those of segment::create: no memory for the rings.
///               `operation_aborted`. Nothing is left then.
/// @par Cancellation   terminal, partial, total: there is no channel. A listener that was told
///                     everything by then may have accepted an end that is closed.
/// @par Limits   Waits for a listener that does not accept for as long as nobody cancels it. While
///               the listener's queue is full it tries again every 10 ms: the kernel does not tell.
/// @par Thread safety  The cancellation signal, and `failure`, belong to the handler's executor.
/// @par Cost     Some 15 system calls, and the memory of the rings.
/// @par Example  @snippet examples/12_channel_server.cpp client
template <connectable_end End,
          asio::completion_token_for<void(error_code, End)> Token = asio::deferred_t>
[[nodiscard]] auto async_connect(const asio::any_io_executor& ex, channel_address address,
                                 channel_connect_options options, Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, End)>(
        detail::initiate_channel_connect<End>{}, token, ex, std::move(address), std::move(options),
        static_cast<connect_failure*>(nullptr));
}
/// The same, with the options as they are.
template <connectable_end End,
          asio::completion_token_for<void(error_code, End)> Token = asio::deferred_t>
[[nodiscard]] auto async_connect(const asio::any_io_executor& ex, channel_address address,
                                 Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, End)>(
        detail::initiate_channel_connect<End>{}, token, ex, std::move(address),
        channel_connect_options{}, static_cast<connect_failure*>(nullptr));
}
/// The same; says in `failure`, which must stay until the completion, what an error code cannot: of
/// `other_type` both sides' types and what is different.
template <connectable_end End,
          asio::completion_token_for<void(error_code, End)> Token = asio::deferred_t>
[[nodiscard]] auto async_connect(const asio::any_io_executor& ex, channel_address address,
                                 channel_connect_options options, connect_failure& failure,
                                 Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, End)>(
        detail::initiate_channel_connect<End>{}, token, ex, std::move(address), std::move(options),
        &failure);
}

PROCYARD_NAMESPACE_END

#endif

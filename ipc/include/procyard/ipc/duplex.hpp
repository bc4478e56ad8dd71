// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DUPLEX_HPP
#define PROCYARD_IPC_DUPLEX_HPP

#include <boost/asio/any_io_executor.hpp>

#include <utility>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

/// One side of two channels, one for each direction, which come together: the end of its own kind
/// that a channel_listener and async_connect() can make of one connection. The other side of a
/// `duplex<Out, In>` is a `duplex<In, Out>`.
///
/// The two are independent from then on, and can be moved out. To a child goes one that is not
/// opened: see make_duplex().
/// @par Thread safety   As those of sender and receiver.
/// @par Example         `auto server = co_await async_connect<duplex<question, answer>>(ex, path);`
template <encodable_message Out, decodable_message In>
struct duplex {
    procyard::sender<Out> sender{};
    procyard::receiver<In> receiver{};
};

/// A duplex that has not been opened. It can go to a child, by command::pass(), which opens it by
/// `inherited<duplex<Out, In>>(executor, name)`; and its two ends can go ways of their own.
/// @par Thread safety   As unopened.
template <encodable_message Out, decodable_message In>
class unopened<duplex<Out, In>> {
public:
    using end_type = duplex<Out, In>;

    unopened<procyard::sender<Out>> sender{};
    unopened<procyard::receiver<In>> receiver{};

    /// Opens both.
    /// @par Errors   As sender's constructor; nothing is open then.
    [[nodiscard]] duplex<Out, In> open(const asio::any_io_executor& ex, error_code& ec) &&
    {
        procyard::sender<Out> out(ex, std::move(sender), ec);
        if (ec)
            return {};
        procyard::receiver<In> in(ex, std::move(receiver), ec);
        if (ec)
            return {};
        return {std::move(out), std::move(in)};
    }
    /// The same; throws boost::system::system_error.
    [[nodiscard]] duplex<Out, In> open(const asio::any_io_executor& ex) &&
    {
        return {procyard::sender<Out>(ex, std::move(sender)),
                procyard::receiver<In>(ex, std::move(receiver))};
    }
};

/// Both sides, not opened: what `here` sends `there` receives.
template <message Out, message In>
struct unopened_duplex {
    unopened<duplex<Out, In>> here{};
    unopened<duplex<In, Out>> there{};
};

/// Makes a channel for each direction, of the same options.
/// @par Errors    As make_channel's.
/// @par Cost      Four descriptors, until the ends are opened.
/// @par Example
/// @code
/// auto sides = make_duplex<question, answer>();
/// what.pass(std::move(sides.there), "ask");  // inherited<duplex<answer, question>>(ex, "ask")
/// auto worker = std::move(sides.here).open(executor);
/// @endcode
template <message Out, message In>
[[nodiscard]] unopened_duplex<Out, In> make_duplex(const channel_options& options, error_code& ec)
{
    auto out = make_channel<Out>(options, ec);
    if (ec)
        return {};
    auto in = make_channel<In>(options, ec);
    if (ec)
        return {};
    return {{std::move(out.sender), std::move(in.receiver)},
            {std::move(in.sender), std::move(out.receiver)}};
}
/// The same; throws boost::system::system_error.
template <message Out, message In>
[[nodiscard]] unopened_duplex<Out, In> make_duplex(const channel_options& options = {})
{
    auto out = make_channel<Out>(options);
    auto in = make_channel<In>(options);
    return {{std::move(out.sender), std::move(in.receiver)},
            {std::move(in.sender), std::move(out.receiver)}};
}

PROCYARD_NAMESPACE_END

#endif

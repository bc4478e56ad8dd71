// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_INHERITED_HPP
#define PROCYARD_RUNTIME_INHERITED_HPP

#include <boost/asio/any_io_executor.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/duplex.hpp>
#include <procyard/ipc/unopened.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

struct inherited_end {
    unique_fd socket;
    channel_options options;
};
[[nodiscard]] PROCYARD_RUNTIME_EXPORT inherited_end find_inherited(std::string_view name,
                                                                   error_code& ec);
[[noreturn]] PROCYARD_RUNTIME_EXPORT void
throw_inherited(const error_code& ec, std::string_view name, const std::string& explanation);

/// How an end is opened, and what there is to say about it.
template <class End>
struct inheriting {
    [[nodiscard]] static End open(const asio::any_io_executor& ex, const std::string& name,
                                  error_code& ec, std::chrono::nanoseconds spin)
    {
        auto found = find_inherited(name, ec);
        if (ec)
            return {};
        found.options.spin = spin;
        End end(ex, unopened<End>(std::move(found.socket), found.options), ec);
        if (!ec)
            ec = end.failure();  // the parent's end is there already, and does not fit
        return end;
    }
    [[nodiscard]] static std::string explanation(const End& end) { return end.explanation(); }
};

template <class Out, class In>
struct inheriting<duplex<Out, In>> {
    [[nodiscard]] static duplex<Out, In> open(const asio::any_io_executor& ex,
                                              const std::string& name, error_code& ec,
                                              std::chrono::nanoseconds spin)
    {
        duplex<Out, In> both;
        both.sender = inheriting<sender<Out>>::open(ex, name + ".out", ec, spin);
        if (!ec)
            both.receiver = inheriting<receiver<In>>::open(ex, name + ".in", ec, spin);
        return both;
    }
    [[nodiscard]] static std::string explanation(const duplex<Out, In>& both)
    {
        const auto of_sender = both.sender.explanation();
        return of_sender.empty() ? both.receiver.explanation() : of_sender;
    }
};

}  // namespace detail

/// The end of a channel that the parent has passed to this process by command::pass(), opened.
///
/// `End` is a `sender<T>` or `receiver<T>`, or whatever else the parent has passed (`subscriber`,
/// `work_source`, `duplex`), with the same T as the parent's: the types are compared as soon as
/// both ends are there. `spin` is this end's, as in channel_options.
/// @par Errors   `channel_errc::not_passed`: the parent has passed no channel of this name;
///               `already_taken`: it has been opened before, or its descriptor been closed;
///               whatever the constructor of `End` says. If the parent has opened its end, also
///               what is wrong with that, as `other_type`, or `other_direction`: it has passed an
///               end of another kind. Both types, or kinds, are named by what(), and by
///               `explanation()` of what is returned.
/// @par Thread safety   Safe if nobody changes the environment meanwhile.
/// @par Limits   The channels are found by an environment variable, which the children of this
///               process inherit as well. The descriptors they do not, from the first call on; a
///               child that this process has started before, and not by Procyard, has them.
/// @par Example  @snippet examples/09_channel_to_child.cpp child
template <class End>
[[nodiscard]] End inherited(const asio::any_io_executor& ex, std::string_view name, error_code& ec,
                            std::chrono::nanoseconds spin = std::chrono::nanoseconds(0))
{
    return detail::inheriting<End>::open(ex, std::string(name), ec, spin);
}
/// The same; throws boost::system::system_error, which names the channel.
template <class End>
[[nodiscard]] End inherited(const asio::any_io_executor& ex, std::string_view name,
                            std::chrono::nanoseconds spin = std::chrono::nanoseconds(0))
{
    error_code ec;
    auto end = inherited<End>(ex, name, ec, spin);
    if (ec)
        detail::throw_inherited(ec, name, detail::inheriting<End>::explanation(end));
    return end;
}

PROCYARD_NAMESPACE_END

#endif

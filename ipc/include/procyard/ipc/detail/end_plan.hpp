// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_END_PLAN_HPP
#define PROCYARD_IPC_DETAIL_END_PLAN_HPP

#include <concepts>
#include <memory>
#include <optional>
#include <utility>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_core.hpp>
#include <procyard/ipc/detail/channel_end.hpp>
#include <procyard/ipc/duplex.hpp>
#include <procyard/ipc/unopened.hpp>

// What compiled code has to know of an end that it is to connect, and what it makes: the rings it
// sends and receives by, of which a sender and a receiver have one, and a duplex has both.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// The rings of an end, not made yet.
struct end_plan {
    std::optional<channel_terms> sends;
    std::optional<channel_terms> receives;
};

/// The same, open.
struct end_cores {
    std::shared_ptr<channel_core> sends;
    std::shared_ptr<channel_core> receives;
};

/// Makes an end of an open core.
struct end_access {
    template <class End>
    [[nodiscard]] static End make(std::shared_ptr<channel_core> core)
    {
        End end;
        static_cast<channel_end&>(end).core_ = std::move(core);
        return end;
    }
};

/// How an end is planned and made. Not defined: it is none that can be connected.
template <class End>
struct end_kind;

template <class T>
struct end_kind<sender<T>> {
    static end_plan plan(const channel_options& options)
    {
        return {.sends = terms_of<T>(options), .receives = {}};
    }
    static sender<T> make(end_cores cores)
    {
        return end_access::make<sender<T>>(std::move(cores.sends));
    }
};

template <class T>
struct end_kind<receiver<T>> {
    static end_plan plan(const channel_options& options)
    {
        return {.sends = {}, .receives = terms_of<T>(options)};
    }
    static receiver<T> make(end_cores cores)
    {
        return end_access::make<receiver<T>>(std::move(cores.receives));
    }
};

template <class Out, class In>
struct end_kind<duplex<Out, In>> {
    static end_plan plan(const channel_options& options)
    {
        return {.sends = terms_of<Out>(options), .receives = terms_of<In>(options)};
    }
    static duplex<Out, In> make(end_cores cores)
    {
        return {end_access::make<sender<Out>>(std::move(cores.sends)),
                end_access::make<receiver<In>>(std::move(cores.receives))};
    }
};

}  // namespace detail

/// What a channel_listener gives out and async_connect() returns: a sender, a receiver, or a duplex
/// of both.
template <class End>
concept connectable_end = requires(const channel_options& options) {
    { detail::end_kind<End>::plan(options) } -> std::same_as<detail::end_plan>;
};

PROCYARD_NAMESPACE_END

#endif

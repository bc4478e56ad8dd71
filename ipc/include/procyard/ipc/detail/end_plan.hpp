// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_END_PLAN_HPP
#define PROCYARD_IPC_DETAIL_END_PLAN_HPP

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_core.hpp>
#include <procyard/ipc/detail/channel_end.hpp>
#include <procyard/ipc/detail/end_sort.hpp>
#include <procyard/ipc/duplex.hpp>
#include <procyard/ipc/unopened.hpp>

// What compiled code has to know of an end that it is to connect, and what it makes: the rings it
// sends and receives by, of which a sender and a receiver have one, and a duplex has both. Other
// ends make what they need of the one descriptor that they get; of their terms only the type
// counts.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// The rings of an end, not made yet.
struct end_plan {
    std::optional<channel_terms> sends{};
    std::optional<channel_terms> receives{};
    end_sort sort = end_sort::channel;
    bool is_offered = false;  ///< a listener's: the program makes them, for each client
};

/// An end for a client: the plan of the other side, and the sockets in the order of that.
struct end_offer {
    end_plan plan{};
    std::array<unique_fd, 2> sockets{};
    std::size_t count = 1;
    bool across_users = false;
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
    static end_plan plan(const channel_options& options) { return {.sends = terms_of<T>(options)}; }
    static end_plan opposite(const channel_options& options = {})
    {
        return {.receives = terms_of<T>(options)};
    }
    static end_offer offer(unopened<sender<T>> end)
    {
        const auto options = end.options();
        return {.plan = opposite(options),
                .sockets = {std::move(end).take()},
                .across_users = options.across_users};
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
        return {.receives = terms_of<T>(options)};
    }
    static end_plan opposite(const channel_options& options = {})
    {
        return {.sends = terms_of<T>(options)};
    }
    static end_offer offer(unopened<receiver<T>> end)
    {
        const auto options = end.options();
        return {.plan = opposite(options),
                .sockets = {std::move(end).take()},
                .across_users = options.across_users};
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
    static end_plan opposite(const channel_options& options = {})
    {
        return {.sends = terms_of<In>(options), .receives = terms_of<Out>(options)};
    }
    static end_offer offer(unopened<duplex<Out, In>> end)
    {
        const auto in = end.receiver.options();
        const auto out = end.sender.options();
        return {.plan = {.sends = terms_of<In>(in), .receives = terms_of<Out>(out)},
                .sockets = {std::move(end.receiver).take(), std::move(end.sender).take()},
                .count = 2,
                .across_users = in.across_users || out.across_users};
    }
    static duplex<Out, In> make(end_cores cores)
    {
        return {end_access::make<sender<Out>>(std::move(cores.sends)),
                end_access::make<receiver<In>>(std::move(cores.receives))};
    }
};

template <given_end End>
struct end_kind<End> {
    static channel_terms terms(const channel_options& options)
    {
        channel_terms made{};
        made.type = &describe<typename given_kind<End>::item_type>();
        made.options = options;
        return made;
    }
    static end_plan plan(const channel_options& options)
    {
        return {.receives = terms(options), .sort = given_kind<End>::sort};
    }
    static end_plan opposite(const channel_options& options = {})
    {
        return {.sends = terms(options), .sort = given_kind<End>::sort};
    }
    static end_offer offer(unopened<End> end)
    {
        const auto options = end.options();
        return {.plan = opposite(options),
                .sockets = {std::move(end).take()},
                .across_users = options.across_users};
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

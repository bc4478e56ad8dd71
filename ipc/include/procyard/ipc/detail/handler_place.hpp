// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_HANDLER_PLACE_HPP
#define PROCYARD_IPC_DETAIL_HANDLER_PLACE_HPP

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/prefer.hpp>

#include <cstdint>
#include <new>
#include <type_traits>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Where a handler runs: in the turn of the I/O executor that finished the operation, or elsewhere.
enum class handler_place : std::uint8_t { same_turn, elsewhere };

// Asked of the handler's own type, before its erasure: an erased handler answers with an erased
// executor, and each such conversion of an any_io_executor allocates (Boost 1.81).
template <class Handler>
[[nodiscard]] handler_place place_of(const Handler& handler, const asio::any_io_executor& io)
{
    using executor = asio::associated_executor_t<Handler, asio::any_io_executor>;
    if constexpr (std::is_convertible_v<executor, asio::any_io_executor>) {
        const asio::any_io_executor own = asio::get_associated_executor(handler, io);
        return own == io ? handler_place::same_turn : handler_place::elsewhere;
    }
    return handler_place::elsewhere;
}

// Keeps the executor of a handler that runs elsewhere busy until it has run; throws bad_alloc.
template <class Handler>
[[nodiscard]] asio::any_completion_executor work_of(const Handler& handler,
                                                    const asio::any_io_executor& io)
{
    asio::any_completion_executor found(asio::get_associated_executor(handler, io));
    if (found)
        found = asio::prefer(found, asio::execution::outstanding_work.tracked);
    if (!found)  // as Asio leaves it where there is no memory for it
        throw std::bad_alloc();
    return found;
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

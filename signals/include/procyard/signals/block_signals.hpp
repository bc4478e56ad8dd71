// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_BLOCK_SIGNALS_HPP
#define PROCYARD_SIGNALS_BLOCK_SIGNALS_HPP

#include <initializer_list>

#include <procyard/ipc/config.hpp>
#include <procyard/signals/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Blocks signals in the whole program, for good, so that each `signal_set` reads them from a
/// signalfd and no handler is ever installed. The first thing in `main`: threads inherit the mask
/// of the thread that starts them, so there must be no other one yet.
///
/// For good, and no guard: a set that reads a signal from its descriptor relies on it, and so does
/// the program, which a blocked signal cannot end. Children of `spawn` get none of it.
/// @par Errors   `signal_errc::not_waitable`; `signal_errc::not_blocked`: another thread runs that
///               does not block one of them. Nothing has happened, then.
/// @par Process-wide effects   The mask of the calling thread and of all that it starts. A thread
///                             that unblocks such a signal gets its default action, which ends the
///                             process, as soon as one comes: of that no set hears.
/// @par Example  @snippet examples/16_signals.cpp block
PROCYARD_SIGNALS_EXPORT void block_signals(std::initializer_list<int> numbers, error_code& ec);
/// The same.
/// @throws boost::system::system_error
PROCYARD_SIGNALS_EXPORT void block_signals(std::initializer_list<int> numbers);

PROCYARD_NAMESPACE_END

#endif

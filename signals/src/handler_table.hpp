// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_SRC_HANDLER_TABLE_HPP
#define PROCYARD_SIGNALS_SRC_HANDLER_TABLE_HPP

#include <procyard/ipc/config.hpp>

// Our one signal handler, and what it has been installed above.
//
//   not installed --first install_handler()--> on top --last remove_handler()--> not installed
//                                              |    ^
//                        somebody installs his |    | put_back_handler(): a wait has begun
//                                              v    |
//                                             buried --last remove_handler()--> left behind
//
//   on top:      ours runs, and then calls what it has found there.
//   buried:      whoever is above calls ours, or does not.
//   left behind: as buried, with nobody who listens. Ours may be called still: it calls what it
//                has found. Should it come to be on top again, as whoever was above puts back what
//                *he* has found, it takes itself away in the first signal, whose action is then
//                that of what was found.

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// One more user of the handler of this signal.
/// @par Errors   `signal_errc::not_waitable`, `signal_errc::taken_over`
void install_handler(int number, error_code& ec) noexcept;
/// One user less; the last one puts back what was found, unless somebody else's is there now.
void remove_handler(int number) noexcept;
/// Puts it back above what has been installed since, if anything has.
void put_back_handler(int number) noexcept;

/// In a forked copy: no other thread is in the middle of a handler.
void renew_handlers() noexcept;

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif

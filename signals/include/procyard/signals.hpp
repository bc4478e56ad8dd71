// SPDX-License-Identifier: BSL-1.0
/// Everything of procyard::signals. For applications; the library's own files include what they
/// name.
#ifndef PROCYARD_SIGNALS_HPP
#define PROCYARD_SIGNALS_HPP

#include <procyard/ipc/sigpipe_guard.hpp>
#include <procyard/signals/block_signals.hpp>
#include <procyard/signals/fork_process.hpp>
#include <procyard/signals/signal_error.hpp>
#include <procyard/signals/signal_ignore_guard.hpp>
#include <procyard/signals/signal_info.hpp>
#include <procyard/signals/signal_mask_guard.hpp>
#include <procyard/signals/signal_options.hpp>
#include <procyard/signals/signal_set.hpp>

#endif

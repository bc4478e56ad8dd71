// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_SRC_THREAD_MASKS_HPP
#define PROCYARD_SIGNALS_SRC_THREAD_MASKS_HPP

#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// Bit n-1: the calling thread blocks signal n.
[[nodiscard]] std::uint64_t own_mask() noexcept;

/// The signals that every thread of the process blocks. Of the other threads as /proc says it; not
/// where there is no /proc.
[[nodiscard]] std::uint64_t mask_of_all_threads() noexcept;
/// The same of the other threads only.
[[nodiscard]] std::uint64_t mask_of_other_threads() noexcept;

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif

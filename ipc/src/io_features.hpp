// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_IO_FEATURES_HPP
#define PROCYARD_IPC_SRC_IO_FEATURES_HPP

#include <atomic>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What the running kernel lets us use. Each flag starts as "assumed there" and is cleared by
// the first refusal that means "unknown"; the library never sets it again. A test clears it to
// force the fallback. All accesses are relaxed: a flag publishes nothing but itself, and a thread
// that still sees the old value gets the same refusal.
struct io_features {
    std::atomic<bool> rwf_nosignal{true};   // pwritev2 with RWF_NOSIGNAL: 6.18
    std::atomic<bool> splice{true};         // refused by some sandboxes
    std::atomic<bool> noexec_seal{true};    // memfd_create with MFD_NOEXEC_SEAL: 6.3
    std::atomic<bool> populate_read{true};  // madvise with MADV_POPULATE_READ: 5.14
    std::atomic<bool> peer_pidfd{true};     // getsockopt with SO_PEERPIDFD: 6.5
    std::atomic<bool> membarrier{true};     // membarrier with the expedited global command: 4.16
};

[[nodiscard]] io_features& io() noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

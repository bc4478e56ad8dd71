// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_DESCRIPTOR_RECEIPT_HPP
#define PROCYARD_IPC_SRC_DESCRIPTOR_RECEIPT_HPP

#include <cstddef>
#include <span>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// As try_receive_descriptors, with flags of recvmsg(2) besides. With MSG_PEEK the message stays,
// and each look at it opens its descriptors anew.
[[nodiscard]] received_counts receive_descriptors(int socket, std::span<std::byte> data,
                                                  std::span<unique_fd> room, int flags,
                                                  error_code& ec) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

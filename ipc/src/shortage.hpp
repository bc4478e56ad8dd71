// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_SHORTAGE_HPP
#define PROCYARD_IPC_SRC_SHORTAGE_HPP

#include <boost/system/errc.hpp>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What is missing here now, descriptors or memory, and is no fault of whoever has come: what failed
// for it can be tried again.
inline bool is_shortage(const error_code& ec) noexcept
{
    return ec == boost::system::errc::too_many_files_open
        || ec == boost::system::errc::too_many_files_open_in_system
        || ec == boost::system::errc::not_enough_memory
        || ec == boost::system::errc::no_space_on_device;
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_MAPPING_HPP
#define PROCYARD_IPC_SRC_MAPPING_HPP

#include <boost/interprocess/mapped_region.hpp>

#include <cstddef>
#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

enum class mapping_access { read_only, read_write };

// Shared memory in this process's address space, until the destructor. Holds no descriptor: it
// stays mapped after that is closed.
//
// A type of our own, so that no public header includes Boost.Interprocess, which brings its file
// and directory functions along. The price is one allocation per segment.
class mapping {
public:
    explicit mapping(boost::interprocess::mapped_region region) noexcept
        : region_(std::move(region))
    {
    }

    [[nodiscard]] std::byte* base() const noexcept
    {
        return static_cast<std::byte*>(region_.get_address());
    }

private:
    boost::interprocess::mapped_region region_;
};

// Maps the first `size_bytes` of what `fd` refers to. Nothing when `ec` is set: ENOMEM for want of
// address space, of mappings (vm.max_map_count) or of memory for the object; EPERM for a writable
// mapping of sealed memory; EACCES when `fd` was not opened for that.
[[nodiscard]] std::unique_ptr<mapping> map_memory(int fd, std::size_t size_bytes,
                                                  mapping_access access, error_code& ec) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif

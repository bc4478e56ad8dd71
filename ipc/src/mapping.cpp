// SPDX-License-Identifier: BSL-1.0
#include "mapping.hpp"

#include <boost/interprocess/exceptions.hpp>

#include <cerrno>
#include <new>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

namespace interprocess = boost::interprocess;

// What mapped_region asks of the thing it maps; Boost has no type for a descriptor one has already.
class descriptor_to_map {
public:
    descriptor_to_map(int fd, interprocess::mode_t mode) noexcept : fd_(fd), mode_(mode) { }

    [[nodiscard]] interprocess::mapping_handle_t get_mapping_handle() const noexcept
    {
        return {.handle = fd_, .is_xsi = false};
    }
    [[nodiscard]] interprocess::mode_t get_mode() const noexcept { return mode_; }

private:
    int fd_;
    interprocess::mode_t mode_;
};

}  // namespace

std::unique_ptr<mapping> map_memory(int fd, std::size_t size_bytes, mapping_access access,
                                    error_code& ec) noexcept
{
    PROCYARD_ASSERT(size_bytes > 0 && "to mapped_region a size of 0 means: ask the file");
    const auto mode =
        access == mapping_access::read_write ? interprocess::read_write : interprocess::read_only;
    ec.clear();
    try {
        return std::make_unique<mapping>(
            interprocess::mapped_region(descriptor_to_map(fd, mode), mode, 0, size_bytes));
    } catch (const interprocess::interprocess_exception& e) {
        ec = make_errno(e.get_native_error());
    } catch (const std::bad_alloc&) {
        ec = make_errno(ENOMEM);
    }
    return nullptr;
}

}  // namespace detail

PROCYARD_NAMESPACE_END

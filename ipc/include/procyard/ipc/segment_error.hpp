// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SEGMENT_ERROR_HPP
#define PROCYARD_IPC_SEGMENT_ERROR_HPP

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/is_error_code_enum.hpp>

#include <type_traits>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What can be wrong with a segment, beyond what errno says. Those that `segment::attach` finds in
/// what a peer has sent are all equal to `errc::bad_message`.
enum class segment_errc {
    /// A segment of no bytes was asked for. Equal to `errc::invalid_argument`.
    zero_size = 1,
    /// No file can be that large. Equal to `errc::file_too_large`.
    too_large,
    /// Huge pages were required, and not enough of them are free. Equal to
    /// `errc::not_enough_memory`.
    no_huge_pages,
    /// The kernel does not know F_SEAL_FUTURE_WRITE (before Linux 5.1). Equal to
    /// `errc::not_supported`.
    cannot_seal,
    /// Not sealed at all, or not with every seal that is needed. Equal to `errc::bad_message`.
    not_sealed,
    /// The descriptor is of something else: a file on a disk, a pipe, a socket, a directory. Equal
    /// to `errc::bad_message`.
    not_shared_memory,
    /// The segment has another size than was announced, or is smaller than was asked for. Equal to
    /// `errc::bad_message`.
    wrong_size,
    /// The segment has holes, whatever it has beyond its end: to read it would take memory, and end
    /// in SIGBUS where there is none. Equal to `errc::bad_message`.
    not_allocated,
    /// No object in shared memory, or no file, can have that name. Equal to
    /// `errc::invalid_argument`.
    bad_name,
    /// The name is that of something else: of a file or directory that is not a named segment, or
    /// of one that was damaged. Equal to `errc::bad_message`.
    not_a_segment,
    /// The named segment belongs to another user. Equal to `errc::permission_denied`.
    foreign_owner
};

/// The category "procyard.segment".
[[nodiscard]] PROCYARD_IPC_EXPORT const boost::system::error_category& segment_category() noexcept;

[[nodiscard]] inline error_code make_error_code(segment_errc e) noexcept
{
    return error_code(static_cast<int>(e), segment_category());
}

PROCYARD_NAMESPACE_END

template <>
struct boost::system::is_error_code_enum<procyard::segment_errc> : std::true_type { };

#endif

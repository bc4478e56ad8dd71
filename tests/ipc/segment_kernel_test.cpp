// SPDX-License-Identifier: BSL-1.0
// Segments on a kernel that lacks something.
#include <procyard/ipc/segment.hpp>

#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <doctest/doctest.h>

#include <procyard/ipc/syscall.hpp>

#include "forked.hpp"
#include "io_feature_off.hpp"
#include "io_features.hpp"
#include "procyard_test.hpp"
#include "syscall_refusal.hpp"

namespace errc = boost::system::errc;
using procyard::error_code;
using procyard::huge_page_policy;
using procyard::make_errno;
using procyard::segment;
using procyard::segment_errc;
using procyard::detail::io_features;
using procyard_test::descriptor_check;
using procyard_test::in_fork;
using procyard_test::io_feature_off;
using procyard_test::refuse;

namespace {

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

constexpr std::uint32_t populate_read = 22;  // MADV_POPULATE_READ

}  // namespace

TEST_SUITE("segment")
{
    TEST_CASE("a kernel without MFD_NOEXEC_SEAL is asked once, and the rest is as usual")
    {
        const descriptor_check no_leak;
        const int result = in_fork([] {
            constexpr unsigned noexec_seal = 8;
            if (!refuse({.number = SYS_memfd_create,
                         .error_number = EINVAL,
                         .argument = 1,
                         .mask = noexec_seal,
                         .value = noexec_seal}))
                return 1;
            error_code ec;
            if (!segment::create(page, {}, ec) || procyard::detail::io().noexec_seal)
                return 2;
            // A second question would now be answered otherwise.
            if (!refuse({.number = SYS_memfd_create,
                         .error_number = EPERM,
                         .argument = 1,
                         .mask = noexec_seal,
                         .value = noexec_seal}))
                return 1;
            auto s = segment::create(page, {}, ec);
            s.seal_for_peer(ec);
            return !ec && segment::attach(s.duplicate(ec), page) ? 0 : 3;
        });
        CHECK(result == 0);
        {
            const io_feature_off old_kernel(&io_features::noexec_seal);
            auto s = segment::create(page);
            s.seal_for_peer();
            error_code ec;
            CHECK(segment::attach(s.duplicate(ec), page, ec));
        }
        CHECK(procyard::detail::io().noexec_seal);
    }

    TEST_CASE("an EINVAL for another reason is not taken for an old kernel")
    {
        const int result = in_fork([] {
            if (!refuse({.number = SYS_memfd_create, .error_number = EINVAL}))
                return 1;
            error_code ec;
            if (segment::create(page, {}, ec) || ec != errc::invalid_argument)
                return 2;
            return procyard::detail::io().noexec_seal ? 0 : 3;
        });
        CHECK(result == 0);
    }

    TEST_CASE("a kernel that cannot seal against writing is an error and not silence")
    {
        const int result = in_fork([] {
            if (!refuse({.number = SYS_fcntl,
                         .error_number = EINVAL,
                         .argument = 1,
                         .mask = 0xFFFFFFFFU,
                         .value = F_ADD_SEALS}))
                return 1;
            auto s = segment::create(page);
            error_code ec;
            s.seal_for_peer(ec);
            if (ec != segment_errc::cannot_seal || ec != errc::not_supported || s.is_sealed())
                return 2;
            return s.duplicate(ec) ? 3 : 0;
        });
        CHECK(result == 0);
    }

    TEST_CASE(
        "a kernel without MADV_POPULATE_READ is asked once, and pages are looked at otherwise")
    {
        const int result = in_fork([] {
            auto s = segment::create(100 * page);
            s.seal_for_peer();
            if (!refuse({.number = SYS_madvise,
                         .error_number = EINVAL,
                         .argument = 2,
                         .mask = 0xFFFFFFFFU,
                         .value = populate_read}))
                return 1;
            error_code ec;
            if (!segment::attach(s.duplicate(ec), s.size(), ec)
                || procyard::detail::io().populate_read)
                return 2;
            // A second question would now be answered otherwise.
            if (!refuse({.number = SYS_madvise, .error_number = EPERM}))
                return 1;
            return segment::attach(s.duplicate(ec), s.size(), ec) ? 0 : 3;
        });
        CHECK(result == 0);
    }

    TEST_CASE("a page that cannot be had is an error of attach, and not SIGBUS")
    {
        struct answer {
            int said;
            error_code expected;
        };
        for (const auto& [said, expected] :
             {answer{EFAULT, segment_errc::not_allocated}, answer{ENOMEM, make_errno(ENOMEM)}}) {
            CAPTURE(said);
            const int result = in_fork([&] {
                auto s = segment::create(100 * page);
                s.seal_for_peer();
                if (!refuse({.number = SYS_madvise,
                             .error_number = said,
                             .argument = 2,
                             .mask = 0xFFFFFFFFU,
                             .value = populate_read}))
                    return 1;
                error_code ec;
                const auto peer = segment::attach(s.duplicate(ec), s.size(), ec);
                return !peer && ec == expected ? 0 : 2;
            });
            CHECK(result == 0);
        }
        const int without_it = in_fork([] {
            const io_feature_off old_kernel(&io_features::populate_read);
            auto s = segment::create(100 * page);
            s.seal_for_peer();
            if (!refuse({.number = SYS_rt_sigprocmask,
                         .error_number = EFAULT,
                         .argument = 0,
                         .mask = 0xFFFFFFFFU,
                         .value = 0xFFFFFFFFU}))
                return 1;
            error_code ec;
            const auto peer = segment::attach(s.duplicate(ec), s.size(), ec);
            return !peer && ec == segment_errc::not_allocated ? 0 : 2;
        });
        CHECK(without_it == 0);
    }

    TEST_CASE("where there are no huge pages at all, they are refused or replaced")
    {
        constexpr unsigned hugetlb = 4;
        for (const int error_number : {ENOSYS, EINVAL, ENODEV, ENOMEM}) {
            CAPTURE(error_number);
            const int result = in_fork([&] {
                if (!refuse({.number = SYS_memfd_create,
                             .error_number = error_number,
                             .argument = 1,
                             .mask = hugetlb,
                             .value = hugetlb}))
                    return 1;
                error_code ec;
                if (segment::create(page, {.huge_pages = huge_page_policy::required}, ec)
                    || ec != segment_errc::no_huge_pages)
                    return 2;
                const auto s =
                    segment::create(page, {.huge_pages = huge_page_policy::if_available}, ec);
                return s.page_bytes() == page && s.size() == page ? 0 : 3;
            });
            CHECK(result == 0);
        }
    }
}

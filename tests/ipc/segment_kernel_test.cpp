// SPDX-License-Identifier: BSL-1.0
// Segments on a kernel that lacks something.
#include <procyard/ipc/segment.hpp>

#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include <doctest/doctest.h>

#include "forked.hpp"
#include "io_features.hpp"
#include "procyard_test.hpp"
#include "syscall_refusal.hpp"

namespace errc = boost::system::errc;
using procyard::error_code;
using procyard::huge_page_policy;
using procyard::segment;
using procyard::segment_errc;
using procyard_test::descriptor_check;
using procyard_test::in_fork;
using procyard_test::refuse;

namespace {

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

class feature_off {
public:
    feature_off() : before_(procyard::detail::io().noexec_seal.exchange(false)) { }
    feature_off(const feature_off&) = delete;
    feature_off& operator=(const feature_off&) = delete;
    ~feature_off() { procyard::detail::io().noexec_seal = before_; }

private:
    bool before_;
};

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
            const feature_off old_kernel;
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

// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/segment.hpp>

#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "forked.hpp"
#include "huge_pages.hpp"
#include "procyard_test.hpp"
#include "skip.hpp"

namespace errc = boost::system::errc;
using procyard::error_code;
using procyard::huge_page_policy;
using procyard::segment;
using procyard::segment_errc;
using procyard_test::descriptor_check;

namespace {

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

std::span<const std::byte> bytes_of(const segment& s)
{
    return {s.data(), s.size()};
}

error_code failure_of(std::size_t size_bytes, procyard::segment_options options = {})
{
    const descriptor_check no_leak;
    error_code ec;
    const auto s = segment::create(size_bytes, options, ec);
    CHECK_FALSE(s);
    return ec;
}

}  // namespace

TEST_SUITE("segment")
{
    TEST_CASE("a created segment is writable, zero-filled, and of whole pages")
    {
        const descriptor_check no_leak;
        for (const std::size_t wanted : {std::size_t{1}, page - 1, page, page + 1, 64 * page}) {
            CAPTURE(wanted);
            auto s = segment::create(wanted);
            REQUIRE(s);
            CHECK(s.size() == (wanted + page - 1) / page * page);
            CHECK(s.page_bytes() == page);
            CHECK(s.is_writable());
            CHECK_FALSE(s.is_sealed());
            CHECK(reinterpret_cast<std::uintptr_t>(s.data()) % page == 0);
            CHECK(std::ranges::all_of(bytes_of(s), [](std::byte b) { return b == std::byte{0}; }));
            std::fill_n(s.writable_data(), s.size(), std::byte{0x5A});
            CHECK(s.data()[s.size() - 1] == std::byte{0x5A});
        }
    }

    TEST_CASE("all of the memory is allocated at once, and not when it is touched")
    {
        struct stat status{};
        const auto s = segment::create(100 * page);
        REQUIRE(::fstat(s.native_handle(), &status) == 0);
        CHECK(static_cast<std::size_t>(status.st_blocks) * 512 >= s.size());
    }

    TEST_CASE("the descriptor is close-on-exec, and nothing of it has a name")
    {
        const auto s = segment::create(page);
        CHECK((::fcntl(s.native_handle(), F_GETFD) & FD_CLOEXEC) != 0);
        struct stat status{};
        REQUIRE(::fstat(s.native_handle(), &status) == 0);
        CHECK(status.st_nlink == 0);
    }

    TEST_CASE("no size and sizes that overflow are refused")
    {
        CHECK(failure_of(0) == segment_errc::zero_size);
        CHECK(failure_of(0) == errc::invalid_argument);
        constexpr auto most = std::numeric_limits<std::size_t>::max();
        for (const std::size_t wanted : {most, most - 1, most - page, most / 2 + 1, most / 2}) {
            CAPTURE(wanted);
            CHECK(failure_of(wanted) == segment_errc::too_large);
            CHECK(failure_of(wanted) == errc::file_too_large);
        }
        for (const auto policy : {huge_page_policy::if_available, huge_page_policy::required}) {
            CHECK(failure_of(0, {.huge_pages = policy}) == segment_errc::zero_size);
            CHECK(failure_of(most, {.huge_pages = policy}) == segment_errc::too_large);
        }
    }

    TEST_CASE("more than the machine has is an error at once and not a visit of the OOM killer")
    {
        CHECK(failure_of(std::size_t{1} << 50U) == errc::not_enough_memory);
    }

    TEST_CASE("the overload without an error code throws, and says where")
    {
        const descriptor_check no_leak;
        try {
            (void)segment::create(0);
            FAIL("nothing was thrown");
        } catch (const boost::system::system_error& e) {
            CHECK(e.code() == segment_errc::zero_size);
            CHECK(std::string(e.what()).starts_with("segment::create: a segment of zero bytes"));
        }
    }

    TEST_CASE("a move keeps the address; what was moved from is nothing and can be used again")
    {
        const descriptor_check no_leak;
        auto a = segment::create(page);
        a.seal_for_peer();
        const auto* const base = a.data();
        const int fd = a.native_handle();
        segment b(std::move(a));
        CHECK(b.data() == base);
        CHECK(b.native_handle() == fd);
        CHECK(b.is_writable());
        CHECK(b.is_sealed());
        CHECK_FALSE(a);
        CHECK(a.data() == nullptr);
        CHECK(a.size() == 0);
        CHECK(a.page_bytes() == 0);
        CHECK(a.native_handle() == -1);
        CHECK_FALSE(a.is_writable());
        CHECK_FALSE(a.is_sealed());
        a = segment::create(3 * page);
        CHECK(a.size() == 3 * page);
        b = std::move(a);
        CHECK(b.size() == 3 * page);
        CHECK_FALSE(b.is_sealed());
        b = segment();
        CHECK_FALSE(b);
    }

    TEST_CASE("to seal is idempotent, also when a copy of the descriptor was sealed")
    {
        auto s = segment::create(page);
        error_code ec = segment_errc::wrong_size;
        s.seal_for_peer(ec);
        CHECK_FALSE(ec);
        CHECK(s.is_sealed());
        s.seal_for_peer(ec);
        CHECK_FALSE(ec);

        auto other = segment::create(page);
        const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
        REQUIRE(::fcntl(other.native_handle(), F_ADD_SEALS, all) == 0);
        other.seal_for_peer(ec);
        CHECK_FALSE(ec);
        CHECK(other.is_sealed());
    }

    TEST_CASE("a segment that somebody has sealed otherwise cannot be sealed, and says so")
    {
        auto s = segment::create(page);
        REQUIRE(::fcntl(s.native_handle(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) == 0);
        error_code ec;
        s.seal_for_peer(ec);
        CHECK(ec == errc::operation_not_permitted);
        CHECK_FALSE(s.is_sealed());
        CHECK_THROWS_AS(s.seal_for_peer(), boost::system::system_error);
    }

    TEST_CASE("the owner writes on after the sealing")
    {
        auto s = segment::create(page);
        s.seal_for_peer();
        s.writable_data()[17] = std::byte{42};
        CHECK(s.data()[17] == std::byte{42});
    }

    TEST_CASE("a descriptor to give away is to be had of a sealed segment only")
    {
        const descriptor_check no_leak;
        auto s = segment::create(page);
        error_code ec;
        CHECK_FALSE(s.duplicate(ec));
        CHECK(ec == segment_errc::not_sealed);
        s.seal_for_peer();
        const auto copy = s.duplicate(ec);
        REQUIRE_FALSE(ec);
        CHECK(copy.get() != s.native_handle());
        CHECK((::fcntl(copy.get(), F_GETFD) & FD_CLOEXEC) != 0);
        CHECK_FALSE(segment().duplicate(ec));
        CHECK(ec == errc::bad_file_descriptor);
    }

    TEST_CASE("without its descriptor the memory stays")
    {
        const descriptor_check no_leak;
        auto s = segment::create(page);
        s.writable_data()[0] = std::byte{1};
        auto fd = s.release_descriptor();
        REQUIRE(fd);
        CHECK(s.native_handle() == -1);
        CHECK_FALSE(s.release_descriptor());
        error_code ec;
        s.seal_for_peer(ec);
        CHECK(ec == errc::bad_file_descriptor);
        fd.reset();
        CHECK(s);
        s.writable_data()[1] = std::byte{2};
        CHECK(s.data()[0] == std::byte{1});
        CHECK(s.data()[1] == std::byte{2});
    }

    TEST_CASE("a child of fork shares the bytes, and what it destroys is its own only")
    {
        auto s = segment::create(page);
        const int result = procyard_test::in_fork([&] {
            s.writable_data()[5] = std::byte{7};
            s = segment();
            return 0;
        });
        CHECK(result == 0);
        CHECK(s.data()[5] == std::byte{7});
        s.writable_data()[5] = std::byte{8};
        CHECK(::fcntl(s.native_handle(), F_GETFD) != -1);
    }

    TEST_CASE("huge pages: never ignored, either had or refused, and reported")
    {
        const auto huge = procyard_test::huge_page_bytes();
        const bool one_is_free = procyard_test::free_huge_pages() > 0;
        CAPTURE(one_is_free);
        const descriptor_check no_leak;
        error_code ec;
        const auto wished =
            segment::create(page, {.huge_pages = huge_page_policy::if_available}, ec);
        REQUIRE_FALSE(ec);
        CHECK(wished.page_bytes() == (one_is_free ? huge : page));
        CHECK(wished.size() == wished.page_bytes());

        // More than any pool has.
        const auto total = procyard_test::memory_info("HugePages_Total");
        CHECK(failure_of((total + 1) * std::max(huge, page),
                         {.huge_pages = huge_page_policy::required})
              == segment_errc::no_huge_pages);
    }

    TEST_CASE("a segment of huge pages is written, sealed and attached as any other")
    {
        const descriptor_check no_leak;
        error_code ec;
        auto s = segment::create(page, {.huge_pages = huge_page_policy::required}, ec);
        if (ec) {
            CHECK(ec == segment_errc::no_huge_pages);
            CHECK(ec == errc::not_enough_memory);
            return procyard_test::skip("no huge page is free");
        }
        REQUIRE(s.page_bytes() > page);
        CHECK(std::ranges::all_of(bytes_of(s), [](std::byte b) { return b == std::byte{0}; }));
        s.writable_data()[s.size() - 1] = std::byte{3};
        s.seal_for_peer();
        const auto peer = segment::attach(s.duplicate(ec), s.size());
        CHECK(peer.page_bytes() == s.page_bytes());
        CHECK(peer.data()[s.size() - 1] == std::byte{3});
    }

    TEST_CASE("every error has a message and a portable meaning")
    {
        CHECK(std::string(procyard::segment_category().name()) == "procyard.segment");
        for (int value = 1; value <= static_cast<int>(segment_errc::foreign_owner); ++value) {
            const error_code ec(value, procyard::segment_category());
            CAPTURE(ec.message());
            CHECK_FALSE(ec.message().starts_with("unknown"));
            CHECK(ec.default_error_condition().category() == boost::system::generic_category());
        }
        const error_code unknown(999, procyard::segment_category());
        CHECK(unknown.message() == "unknown segment error 999");
        CHECK(make_error_code(segment_errc::cannot_seal) == errc::not_supported);
    }
}

// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/named_segment.hpp>

#include <boost/interprocess/mapped_region.hpp>
#include <boost/interprocess/shared_memory_object.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "forked.hpp"
#include "named_fixture.hpp"
#include "procyard_test.hpp"
#include "temporary_directory.hpp"

namespace errc = boost::system::errc;
namespace fs = std::filesystem;
using procyard::error_code;
using procyard::named_segment;
using procyard::segment_access;
using procyard::segment_errc;
using procyard::segment_name;
using procyard_test::descriptor_check;
using procyard_test::each_place;
using procyard_test::fresh_name;

namespace {

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

error_code failure_to_create(const segment_name& name, std::size_t size_bytes = 1)
{
    const descriptor_check no_leak;
    error_code ec;
    CHECK_FALSE(named_segment::create(name, size_bytes, {}, ec));
    return ec;
}

error_code failure_to_open(const segment_name& name)
{
    const descriptor_check no_leak;
    error_code ec;
    CHECK_FALSE(named_segment::open(name, {}, ec));
    return ec;
}

}  // namespace

TEST_SUITE("named_segment")
{
    TEST_CASE("what the creator publishes, others open, read and write")
    {
        each_place([](const segment_name& name) {
            const descriptor_check no_leak;
            auto creator = named_segment::create(name, page + 1);
            REQUIRE(creator);
            CHECK(creator.is_creator());
            CHECK(creator.is_writable());
            CHECK(creator.size() == 2 * page);
            CHECK(reinterpret_cast<std::uintptr_t>(creator.data()) % page == 0);
            CHECK(std::all_of(creator.data(), creator.data() + creator.size(),
                              [](std::byte b) { return b == std::byte{0}; }));
            creator.writable_data()[2 * page - 1] = std::byte{1};
            creator.publish();

            auto other = named_segment::open(name);
            CHECK_FALSE(other.is_creator());
            CHECK(other.size() == 2 * page);
            CHECK(other.data()[2 * page - 1] == std::byte{1});
            other.writable_data()[0] = std::byte{2};
            CHECK(creator.data()[0] == std::byte{2});
            error_code ec;
            CHECK(other.creator_alive(ec));
            CHECK(creator.creator_alive(ec));
        });
    }

    TEST_CASE("until it is published nobody can open it")
    {
        each_place([](const segment_name& name) {
            auto creator = named_segment::create(name, page);
            CHECK(failure_to_open(name) == errc::resource_unavailable_try_again);
            error_code ec;
            CHECK_FALSE(named_segment::open_or_create(name, page, {}, ec));
            CHECK(ec == errc::resource_unavailable_try_again);
            creator.publish();
            CHECK(named_segment::open(name));
        });
    }

    TEST_CASE("the creator takes the name with it; who has opened it keeps the memory")
    {
        each_place([](const segment_name& name) {
            named_segment other;
            error_code ec;
            {
                auto creator = named_segment::create(name, page);
                creator.writable_data()[3] = std::byte{3};
                creator.publish();
                other = named_segment::open(name);
            }
            CHECK_FALSE(fs::exists(name.path()));
            CHECK(failure_to_open(name) == errc::no_such_file_or_directory);
            CHECK(other.data()[3] == std::byte{3});
            CHECK_FALSE(other.creator_alive(ec));
            CHECK_FALSE(ec);
        });
    }

    TEST_CASE("who has opened it does not take the name with it")
    {
        each_place([](const segment_name& name) {
            auto creator = named_segment::create(name, page);
            creator.publish();
            (void)named_segment::open(name);
            CHECK(named_segment::open(name));
        });
    }

    TEST_CASE("a live creator's name is taken, also for its own process")
    {
        each_place([](const segment_name& name) {
            const auto creator = named_segment::create(name, page);
            CHECK(failure_to_create(name) == errc::file_exists);
            CHECK(procyard_test::in_fork([&] {
                      error_code ec;
                      (void)named_segment::create(name, page, {}, ec);
                      return ec == errc::file_exists ? 0 : 1;
                  })
                  == 0);
            CHECK(fs::exists(name.path()));
        });
    }

    TEST_CASE("a copy of the creator that fork made does not take the name with it")
    {
        each_place([](const segment_name& name) {
            auto creator = named_segment::create(name, page);
            creator.publish();
            CHECK(procyard_test::in_fork([&] {
                      creator = named_segment();
                      return 0;
                  })
                  == 0);
            CHECK(named_segment::open(name));
        });
    }

    TEST_CASE("a copy of the creator that fork made is not the creator, and has no name to remove")
    {
        each_place([](const segment_name& name) {
            auto creator = named_segment::create(name, page);
            CHECK(procyard_test::in_fork([&] {
                      error_code ec;
                      if (creator.is_creator() || !creator.is_writable())
                          return 1;
                      creator.remove_name(ec);
                      if (ec != errc::operation_not_permitted)
                          return 2;
                      // Until the copy has ended, somebody has the lock.
                      return creator.creator_alive(ec) && !ec ? 0 : 3;
                  })
                  == 0);
            CHECK(fs::exists(name.path()));
            CHECK(creator.is_creator());
            error_code ec;
            creator.remove_name(ec);
            CHECK_FALSE(ec);
        });
    }

    TEST_CASE("the permissions are those that were asked for, whatever the umask")
    {
        each_place([](const segment_name& name) {
            const auto permissions = [&](const named_segment& made) {
                struct stat status{};
                REQUIRE(made);
                REQUIRE(::stat(name.path().c_str(), &status) == 0);
                return status.st_mode & 07777U;
            };
            for (const mode_t mask : {0000U, 0077U, 0777U}) {
                const mode_t before = ::umask(mask);
                CHECK(permissions(named_segment::create(name, page)) == 0600);
                CHECK(permissions(named_segment::create(name, page, {.permissions = 0664}))
                      == 0664);
                ::umask(before);
            }
        });
    }

    TEST_CASE("opened to be read, it cannot be written")
    {
        each_place([](const segment_name& name) {
            auto creator = named_segment::create(name, page);
            creator.publish();
            const auto reader = named_segment::open(name, {.access = segment_access::read_only});
            CHECK_FALSE(reader.is_writable());
            creator.writable_data()[0] = std::byte{4};
            CHECK(reader.data()[0] == std::byte{4});
        });
    }

    TEST_CASE("open_or_create creates once, then opens, and looks at the size")
    {
        each_place([](const segment_name& name) {
            auto first = named_segment::open_or_create(name, 2 * page);
            CHECK(first.is_creator());
            first.publish();
            const auto second = named_segment::open_or_create(name, page);
            CHECK_FALSE(second.is_creator());
            CHECK(second.size() == 2 * page);
            const descriptor_check no_leak;
            error_code ec;
            CHECK_FALSE(named_segment::open_or_create(name, 2 * page + 1, {}, ec));
            CHECK(ec == segment_errc::wrong_size);
        });
    }

    TEST_CASE("a removed name is free at once, and its segment goes on")
    {
        each_place([](const segment_name& name) {
            auto first = named_segment::create(name, page);
            first.publish();
            auto other = named_segment::open(name);
            error_code ec;
            first.remove_name(ec);
            CHECK_FALSE(ec);
            auto second = named_segment::create(name, page);
            second.publish();
            first.remove_name(ec);
            CHECK(ec == errc::no_such_file_or_directory);
            first.writable_data()[0] = std::byte{1};
            CHECK(other.data()[0] == std::byte{1});
            first = named_segment();  // and does not remove the name of the second
            CHECK(named_segment::open(name));
        });
    }

    TEST_CASE("after a move there is nothing, and it can be used again")
    {
        each_place([](const segment_name& name) {
            const descriptor_check no_leak;
            auto a = named_segment::create(name, page);
            const auto* const base = a.data();
            auto b = std::move(a);
            CHECK_FALSE(a);
            CHECK(a.data() == nullptr);
            CHECK(a.size() == 0);
            CHECK_FALSE(a.is_creator());
            CHECK_FALSE(a.is_writable());
            error_code ec;
            CHECK_FALSE(a.creator_alive(ec));
            CHECK(b.data() == base);
            a = std::move(b);
            CHECK(a.is_creator());
        });
    }

    TEST_CASE("a relative path is one of the working directory of that moment")
    {
        if (!procyard_test::has_segment_files())
            return;
        const procyard_test::temporary_directory directory;
        const auto before = fs::current_path();
        fs::current_path(directory.path());
        {
            const auto made = named_segment::create(segment_name::file("relative"), page);
            CHECK(fs::exists(directory.path() / "relative"));
            fs::current_path(before);
        }
        CHECK_FALSE(fs::exists(directory.path() / "relative"));
    }

    TEST_CASE("Boost's own shared_memory_object opens the same memory")
    {
        namespace interprocess = boost::interprocess;
        if (!procyard_test::has_shared_memory())
            return;
        const auto short_name = fresh_name();
        auto creator = named_segment::create(segment_name::shared_memory(short_name), page);
        creator.writable_data()[0] = std::byte{77};
        const interprocess::shared_memory_object object(interprocess::open_only, short_name.c_str(),
                                                        interprocess::read_only);
        const interprocess::mapped_region region(object, interprocess::read_only);
        CHECK(static_cast<const std::byte*>(region.get_address())[page] == std::byte{77});
    }

    TEST_CASE("the overloads without an error code throw, and say where")
    {
        const auto none = segment_name::shared_memory("");
        const auto what = [](const std::function<void()>& call) {
            try {
                call();
            } catch (const boost::system::system_error& e) {
                return std::string(e.what()).substr(0, std::string(e.what()).find(':'));
            }
            return std::string("nothing");
        };
        CHECK(what([&] { (void)named_segment::create(none, 1); }) == "named_segment");
        CHECK(what([&] { (void)named_segment::open(none); }) == "named_segment");
        CHECK(what([&] { (void)named_segment::open_or_create(none, 1); }) == "named_segment");
    }
}

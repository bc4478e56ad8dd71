// SPDX-License-Identifier: BSL-1.0
// What an attached segment may trust: what is refused before it is mapped, and that the kernel
// keeps its side of the bargain afterwards.
#include <procyard/ipc/segment.hpp>

#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "forked.hpp"
#include "io_feature_off.hpp"
#include "passed_descriptor.hpp"
#include "procyard_test.hpp"
#include "skip.hpp"
#include "temporary_directory.hpp"

namespace errc = boost::system::errc;
using procyard::error_code;
using procyard::segment;
using procyard::segment_errc;
using procyard::unique_fd;
using procyard_test::descriptor_check;
using procyard_test::forked;
using procyard_test::io_feature_off;

namespace {

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
constexpr int all_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;

segment sealed_segment(std::size_t size_bytes)
{
    auto s = segment::create(size_bytes);
    s.seal_for_peer();
    return s;
}

unique_fd copy_of(const segment& s)
{
    error_code ec;
    auto fd = s.duplicate(ec);
    REQUIRE_FALSE(ec);
    return fd;
}

// A memfd as somebody else may make it: `allocated` of `size` bytes have memory.
unique_fd raw_memory(std::size_t size, std::size_t allocated, int seals)
{
    unique_fd fd(::memfd_create("raw", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(fd);
    REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
    if (allocated > 0)
        REQUIRE(::posix_fallocate(fd.get(), 0, static_cast<off_t>(allocated)) == 0);
    REQUIRE(::fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
    return fd;
}

// Another, of which `inside` bytes have memory, and as much as `beyond` after its end.
unique_fd with_pages_beyond_the_end(std::size_t size, std::size_t inside, std::size_t beyond)
{
    auto fd = raw_memory(size, inside, 0);
    REQUIRE(::fallocate(fd.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(size),
                        static_cast<off_t>(beyond))
            == 0);
    REQUIRE(::fcntl(fd.get(), F_ADD_SEALS, all_seals) == 0);
    return fd;
}

// What attach says to a descriptor that it must refuse, and must close.
error_code refusal(unique_fd fd, std::size_t expected_bytes)
{
    const int number = fd.get();
    error_code ec;
    const auto s = segment::attach(std::move(fd), expected_bytes, ec);
    CHECK_FALSE(s);
    CHECK(::fcntl(number, F_GETFD) == -1);
    return ec;
}

unique_fd socket_end(unique_fd& other)
{
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    other.reset(ends[1]);
    return unique_fd(ends[0]);
}

// Reopens a descriptor through /proc, which gives it another access mode.
unique_fd reopen(int fd, int flags)
{
    const auto path = "/proc/self/fd/" + std::to_string(fd);
    return unique_fd(::open(path.c_str(), flags | O_CLOEXEC));
}

// The errno of a call that must fail.
template <class Result>
int refused(Result result)
{
    if constexpr (std::is_pointer_v<Result>)
        return result == MAP_FAILED ? errno : 0;
    else
        return result == -1 ? errno : 0;
}

void* map(int fd, int protection, std::size_t size)
{
    return ::mmap(nullptr, size, protection, MAP_SHARED, fd, 0);
}

// What somebody has given a name that tells of us. Others use the directory at the same time, so it
// has to have the pid in it.
std::vector<std::string> names_of(pid_t who)
{
    std::vector<std::string> names;
    std::error_code no_directory;  // then there is nothing in it either
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", no_directory)) {
        const auto name = entry.path().filename().string();
        if (name.find("procyard") != name.npos && name.find(std::to_string(who)) != name.npos)
            names.push_back(name);
    }
    return names;
}

}  // namespace

TEST_SUITE("segment")
{
    TEST_CASE("an attached segment shows what the owner writes, and cannot be written")
    {
        const descriptor_check no_leak;
        auto owner = sealed_segment(3 * page);
        owner.writable_data()[100] = std::byte{1};
        const auto peer = segment::attach(copy_of(owner), owner.size());
        CHECK(peer.size() == owner.size());
        CHECK(peer.page_bytes() == page);
        CHECK_FALSE(peer.is_writable());
        CHECK(peer.is_sealed());
        CHECK(peer.data() != owner.data());
        CHECK(peer.data()[100] == std::byte{1});
        owner.writable_data()[3 * page - 1] = std::byte{2};
        CHECK(peer.data()[3 * page - 1] == std::byte{2});
    }

    TEST_CASE("an attached segment may be passed on, and outlives its owner")
    {
        const descriptor_check no_leak;
        auto owner = sealed_segment(page);
        owner.writable_data()[0] = std::byte{9};
        auto first = segment::attach(copy_of(owner), page);
        owner = segment();
        const auto second = segment::attach(copy_of(first), page);
        first = segment();
        CHECK(second.data()[0] == std::byte{9});
    }

    TEST_CASE("a descriptor that is not not sealed, or not with every seal, is refused")
    {
        const descriptor_check no_leak;
        CHECK(refusal(raw_memory(page, page, 0), page) == segment_errc::not_sealed);
        for (const int missing : {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL}) {
            CAPTURE(missing);
            const auto ec = refusal(raw_memory(page, page, all_seals & ~missing), page);
            CHECK(ec == segment_errc::not_sealed);
            CHECK(ec == errc::bad_message);
        }
        // Made without MFD_ALLOW_SEALING, which is a seal itself: the one against seals.
        unique_fd unsealable(::memfd_create("raw", MFD_CLOEXEC));
        REQUIRE(::posix_fallocate(unsealable.get(), 0, static_cast<off_t>(page)) == 0);
        CHECK(refusal(std::move(unsealable), page) == segment_errc::not_sealed);
    }

    TEST_CASE("more seals than needed are welcome")
    {
        auto s = segment::create(page);  // the kernel adds F_SEAL_EXEC where it knows it
        s.seal_for_peer();
        CHECK(segment::attach(copy_of(s), page));
        CHECK(segment::attach(raw_memory(page, page, all_seals), page));
        CHECK(segment::attach(raw_memory(page, page, all_seals | F_SEAL_WRITE), page));
    }

    TEST_CASE("a segment that is larger or smaller than announced is refused")
    {
        const descriptor_check no_leak;
        const auto owner = sealed_segment(4 * page);
        for (const std::size_t announced :
             {4 * page - 1, 4 * page + 1, 3 * page, 5 * page, std::size_t{1}, SIZE_MAX}) {
            CAPTURE(announced);
            CHECK(refusal(copy_of(owner), announced) == segment_errc::wrong_size);
        }
        CHECK(refusal(copy_of(owner), 0) == segment_errc::zero_size);
        CHECK(refusal(raw_memory(0, 0, all_seals), page) == segment_errc::wrong_size);
    }

    TEST_CASE("of huge pages a size that is not whole pages is refused: it could not be unmapped")
    {
        const descriptor_check no_leak;
        unique_fd fd(::memfd_create("raw", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB));
        // Unlike ftruncate this takes any size.
        if (!fd || ::posix_fallocate(fd.get(), 0, static_cast<off_t>(page)) != 0)
            return procyard_test::skip("no huge page is free");
        REQUIRE(::fcntl(fd.get(), F_ADD_SEALS, all_seals) == 0);
        CHECK(refusal(std::move(fd), page) == segment_errc::wrong_size);
    }

    TEST_CASE("a segment with holes is refused: to read it would take memory, or raise SIGBUS")
    {
        const descriptor_check no_leak;
        CHECK(refusal(raw_memory(8 * page, 0, all_seals), 8 * page) == segment_errc::not_allocated);
        CHECK(refusal(raw_memory(8 * page, 7 * page, all_seals), 8 * page)
              == segment_errc::not_allocated);
        constexpr std::size_t terabyte = std::size_t{1} << 40U;
        CHECK(refusal(raw_memory(terabyte, page, all_seals), terabyte)
              == segment_errc::not_allocated);
        CHECK(segment::attach(raw_memory(8 * page, 8 * page, all_seals), 8 * page));
    }

    TEST_CASE("holes are found behind as many pages beyond the end, whatever the kernel knows")
    {
        const descriptor_check no_leak;
        constexpr std::size_t mebibyte = std::size_t{1} << 20U;
        const auto look_for_holes = [&] {
            for (const std::size_t size : {page, 8 * page, 4 * mebibyte}) {
                CAPTURE(size);
                CHECK(refusal(with_pages_beyond_the_end(size, 0, size), size)
                      == segment_errc::not_allocated);
                // One is missing, the last that is looked at.
                CHECK(refusal(with_pages_beyond_the_end(size, size - page, page), size)
                      == segment_errc::not_allocated);
                // More than enough, and no hole.
                CHECK(segment::attach(with_pages_beyond_the_end(size, size, page), size));
            }
            // Neither written nor read by anybody before, which to SEEK_DATA is a hole.
            CHECK(segment::attach(raw_memory(8 * page, 8 * page, all_seals), 8 * page));
        };
        look_for_holes();
        const io_feature_off old_kernel(&procyard::detail::io_features::populate_read);
        look_for_holes();
    }

    TEST_CASE("what a refused segment costs is bounded, whatever its size")
    {
        constexpr std::size_t size = std::size_t{16} << 20U;
        const auto raw = with_pages_beyond_the_end(size, 0, size);
        error_code ec;
        const auto allocated = [&] {
            struct stat status{};
            REQUIRE(::fstat(raw.get(), &status) == 0);
            return static_cast<std::size_t>(status.st_blocks) * 512;
        };
        REQUIRE(allocated() == size);
        CHECK(refusal(raw.duplicate(ec), size) == segment_errc::not_allocated);
        CHECK(allocated() == size + (std::size_t{1} << 20U));
    }

    TEST_CASE("what is no segment at all is refused")
    {
        const descriptor_check no_leak;
        const procyard_test::temporary_directory directory;
        const auto file = directory.write("file", std::string(page, 'x'));
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        const unique_fd writer(ends[1]);
        CHECK(refusal(unique_fd(ends[0]), page) == segment_errc::not_shared_memory);
        unique_fd other;
        CHECK(refusal(socket_end(other), page) == segment_errc::not_shared_memory);
        const auto refusal_of = [](const std::string& path) {
            unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
            REQUIRE_MESSAGE(fd, path);
            return refusal(std::move(fd), page);
        };
        for (const auto& path :
             {directory.path().string(), std::string("/dev/zero"), std::string("/proc/self/mem")}) {
            CAPTURE(path);
            CHECK(refusal_of(path) == segment_errc::not_shared_memory);
        }
        // A file of a tmpfs, which many have for temporary files, is shared memory without seals.
        struct statfs where{};
        REQUIRE(::statfs(file.c_str(), &where) == 0);
        CHECK(refusal_of(file.string())
              == (where.f_type == TMPFS_MAGIC ? segment_errc::not_sealed
                                              : segment_errc::not_shared_memory));
    }

    TEST_CASE("a directory on tmpfs is no segment")
    {
        const descriptor_check no_leak;
        unique_fd fd(::open("/dev/shm", O_RDONLY | O_CLOEXEC));
        if (!fd && errno == ENOENT)
            return procyard_test::skip("no /dev/shm");
        REQUIRE(fd);
        CHECK(refusal(std::move(fd), page) == segment_errc::not_shared_memory);
    }

    TEST_CASE("a file on tmpfs is memory, but can never be sealed")
    {
        const descriptor_check no_leak;
        const auto name = "/procyard-test-" + std::to_string(::getpid());
        unique_fd fd(::shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (!fd && errno == ENOENT)
            return procyard_test::skip("no /dev/shm");
        REQUIRE(fd);
        REQUIRE(::shm_unlink(name.c_str()) == 0);
        REQUIRE(::posix_fallocate(fd.get(), 0, static_cast<off_t>(page)) == 0);
        CHECK(refusal(std::move(fd), page) == segment_errc::not_sealed);
    }

    TEST_CASE("a descriptor that cannot be read is refused")
    {
        const descriptor_check no_leak;
        const auto owner = sealed_segment(page);
        CHECK(refusal(reopen(owner.native_handle(), O_PATH), page) == errc::bad_file_descriptor);
        CHECK(refusal(reopen(owner.native_handle(), O_WRONLY), page) == errc::permission_denied);
        error_code ec;
        CHECK_FALSE(segment::attach(unique_fd(), page, ec));
        CHECK(ec == errc::bad_file_descriptor);
        CHECK(segment::attach(reopen(owner.native_handle(), O_RDONLY), page));
    }

    TEST_CASE("the overload without an error code throws, and closes")
    {
        const descriptor_check no_leak;
        const auto owner = sealed_segment(page);
        try {
            (void)segment::attach(copy_of(owner), 2 * page);
            FAIL("nothing was thrown");
        } catch (const boost::system::system_error& e) {
            CHECK(e.code() == segment_errc::wrong_size);
            CHECK(std::string(e.what()).starts_with("segment::attach: segment of another size"));
        }
    }

    TEST_CASE("the holder of a sealed segment's descriptor can neither write nor resize it")
    {
        const auto owner = sealed_segment(2 * page);
        const auto held = copy_of(owner);
        const auto reopened = reopen(held.get(), O_RDWR);
        for (const auto* fd : {&held, &reopened}) {
            if (!*fd)
                continue;  // where /proc does not even let it be opened
            const int number = fd->get();
            CHECK(refused(map(number, PROT_READ | PROT_WRITE, page)) == EPERM);
            CHECK(refused(map(number, PROT_WRITE, page)) == EPERM);
            CHECK(refused(::pwrite(number, "x", 1, 0)) == EPERM);
            CHECK(refused(::ftruncate(number, 0)) == EPERM);
            CHECK(refused(::ftruncate(number, static_cast<off_t>(3 * page))) == EPERM);
            CHECK(refused(::fallocate(number, 0, 0, static_cast<off_t>(3 * page))) == EPERM);
            constexpr int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
            CHECK(refused(::fallocate(number, punch, 0, static_cast<off_t>(page))) == EPERM);
            CHECK(refused(::fcntl(number, F_ADD_SEALS, F_SEAL_WRITE)) == EPERM);
        }
    }

    TEST_CASE("a mapping to read cannot be made one to write")
    {
        const auto owner = sealed_segment(page);
        const auto peer = segment::attach(copy_of(owner), page);
        auto* const address = const_cast<std::byte*>(peer.data());
        CHECK(refused(::mprotect(address, page, PROT_READ | PROT_WRITE)) == EACCES);
        CHECK(refused(::madvise(address, page, MADV_REMOVE)) != 0);
    }

    TEST_CASE("not even the owner can take the memory back from under those that read it")
    {
        auto owner = sealed_segment(2 * page);
        owner.writable_data()[0] = std::byte{1};
        const auto peer = segment::attach(copy_of(owner), 2 * page);
        CHECK(refused(::madvise(owner.writable_data(), page, MADV_REMOVE)) == EPERM);
        // What only the owner's view of it loses.
        CHECK(::madvise(owner.writable_data(), page, MADV_DONTNEED) == 0);
        CHECK(peer.data()[0] == std::byte{1});
    }

    TEST_CASE("another process reads what this one writes later")
    {
        auto owner = sealed_segment(page);
        auto* const word = new (owner.writable_data()) std::atomic<std::uint32_t>(0);
        unique_fd ours;
        unique_fd theirs = socket_end(ours);
        forked peer([&] {
            ours.reset();  // or the end of this program would not be seen there
            const auto s = segment::attach(procyard_test::receive_descriptor(theirs.get()), page);
            char go = 0;
            if (::read(theirs.get(), &go, 1) != 1)
                return 1;
            const auto* const seen = reinterpret_cast<const std::atomic<std::uint32_t>*>(s.data());
            return seen->load(std::memory_order_acquire) == 4711 ? 0 : 2;
        });
        REQUIRE(procyard_test::send_descriptor(ours.get(), owner.native_handle()));
        word->store(4711, std::memory_order_release);
        REQUIRE(::write(ours.get(), "g", 1) == 1);
        CHECK(peer.result() == 0);
    }

    TEST_CASE("a creator that is killed leaves those that have attached all of it, and no name")
    {
        const descriptor_check no_leak;
        unique_fd ours;
        unique_fd theirs = socket_end(ours);
        forked creator([&] {
            auto s = sealed_segment(16 * page);
            std::fill_n(s.writable_data(), s.size(), std::byte{0xA5});
            if (!procyard_test::send_descriptor(theirs.get(), s.native_handle()))
                return 1;
            ::pause();
            return 2;
        });
        theirs.reset();
        const auto peer = segment::attach(procyard_test::receive_descriptor(ours.get()), 16 * page);
        const auto pid = creator.pid();
        creator.kill_hard();
        CHECK(std::all_of(peer.data(), peer.data() + peer.size(),
                          [](std::byte b) { return b == std::byte{0xA5}; }));
        CHECK(names_of(pid).empty());
    }

    TEST_CASE("of a creator that is killed before it is done, nothing is left")
    {
        forked creator([] {
            const auto s = segment::create(16 * page);
            ::kill(::getpid(), SIGKILL);
            return 0;
        });
        const auto pid = creator.pid();
        CHECK(creator.result() == -SIGKILL);
        CHECK(names_of(pid).empty());
    }
}

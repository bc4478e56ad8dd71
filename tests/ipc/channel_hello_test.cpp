// SPDX-License-Identifier: BSL-1.0
// What comes in the place of a hello and is none. Whatever is wrong is told, and nothing is left.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "message_samples.hpp"
#include "raw_peer.hpp"
#include "skip.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::huge_page_policy;
using procyard::make_channel;
using procyard::receiver;
using procyard::segment_errc;
using procyard::unique_fd;
using procyard::detail::ring_role;
using procyard_test::descriptor_check;
using procyard_test::outcome;
using procyard_test::raw_peer;
using procyard_test::run;
using procyard_test::wrong_descriptors;

namespace {

// What a receiver says of a hello of which `change` has made something else; before it has opened,
// or while it waits.
error_code answer_to(const std::function<void(raw_peer<int>&)>& change, bool waiting,
                     const channel_options& options = {})
{
    const descriptor_check no_leak;
    asio::io_context ctx;
    auto ends = make_channel<int>(options);
    raw_peer<int> peer(ring_role::producer, std::move(ends.sender).take());
    outcome<error_code> readable;
    std::optional<receiver<int>> r;
    const auto open = [&] {
        r.emplace(ctx.get_executor(), std::move(ends.receiver));
        r->async_wait_readable(readable.handler());
        ctx.poll();
    };
    if (waiting)
        open();
    change(peer);
    if (!waiting)
        open();
    run(ctx);
    CHECK_FALSE(r->is_open());
    CHECK_FALSE(r->is_connected());
    return readable.error();
}

void check_answer(error_code expected, const std::function<void(raw_peer<int>&)>& change)
{
    CHECK(answer_to(change, false) == expected);
    CHECK(answer_to(change, true) == expected);
}

unique_fd memory_of(std::size_t bytes, bool sealed, unsigned seals = F_SEAL_SHRINK | F_SEAL_GROW)
{
    unique_fd fd(::memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)) == 0);
    if (sealed)
        REQUIRE(::fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
    return fd;
}

}  // namespace

TEST_SUITE("channel handshake: a hello that is none")
{
    TEST_CASE("garbage, of any length")
    {
        procyard_test::fixed_random random(7);
        for (const std::size_t length : {1U, 7U, 8U, 47U, 48U, 49U, 200U, 1229U, 60'000U}) {
            CAPTURE(length);
            std::vector<std::byte> bytes(length);
            for (auto& byte : bytes)
                byte = static_cast<std::byte>(random.next());
            check_answer(channel_errc::bad_hello, [&](raw_peer<int>& peer) {
                procyard_test::send_packet(peer.socket(), bytes, {});
            });
            check_answer(channel_errc::bad_hello, [&](raw_peer<int>& peer) {
                procyard_test::send_packet(peer.socket(), bytes, peer.fds);
            });
        }
    }

    TEST_CASE("truncated after any byte of its header")
    {
        for (std::size_t length = 1; length < sizeof(procyard_test::hello_fields); ++length) {
            CAPTURE(length);
            check_answer(channel_errc::bad_hello, [&](raw_peer<int>& peer) {
                const auto bytes = peer.hello();
                procyard_test::send_packet(peer.socket(), std::span(bytes).first(length), peer.fds);
            });
        }
    }

    TEST_CASE("empty is the end of a peer, with descriptors a bad hello")
    {
        check_answer(channel_errc::peer_died, [](raw_peer<int>& peer) {
            procyard_test::send_packet(peer.socket(), {}, {});
        });
        check_answer(channel_errc::bad_hello, [](raw_peer<int>& peer) {
            procyard_test::send_packet(peer.socket(), {}, peer.fds);
        });
    }

    TEST_CASE("without descriptors, with one, or with more than two")
    {
        for (const std::size_t count : {0U, 1U, 3U, 4U, 5U, 100U}) {
            CAPTURE(count);
            check_answer(channel_errc::bad_hello, [&](raw_peer<int>& peer) {
                peer.fds.resize(count, peer.fds.back());
                peer.greet();
            });
        }
    }

    TEST_CASE("of another magic number, version or role, or with too long a description")
    {
        check_answer(channel_errc::bad_hello, [](raw_peer<int>& peer) {
            peer.fields.magic ^= 1U;
            peer.greet();
        });
        for (const std::uint32_t version : {0U, 2U, 0xffffffffU}) {
            check_answer(channel_errc::other_version, [&](raw_peer<int>& peer) {
                peer.fields.version = version;
                peer.greet();
            });
        }
        check_answer(channel_errc::bad_hello, [](raw_peer<int>& peer) {
            peer.fields.role = 2;
            peer.greet();
        });
        check_answer(channel_errc::other_direction, [](raw_peer<int>& peer) {
            peer.fields.role = static_cast<std::uint32_t>(ring_role::consumer);
            peer.greet();
        });
        check_answer(channel_errc::bad_hello, [](raw_peer<int>& peer) {
            peer.text.assign(5000, 'x');
            peer.greet();
        });
    }

    TEST_CASE("of a shape that cannot be, or a type that explains itself by garbage")
    {
        const std::vector<procyard::detail::ring_shape> shapes{
            {0, 0, 0}, {~std::uint64_t{0}, ~std::uint64_t{0}, 0}, {1, 8, 0}, {32768, 8, 1}};
        for (const auto& shape : shapes) {
            for (const auto* const text : {"", "x", "tick, or something like it"}) {
                check_answer(channel_errc::other_type, [&](raw_peer<int>& peer) {
                    peer.fields.shape = shape;
                    peer.text = text;
                    peer.greet();
                });
            }
        }
    }

    TEST_CASE("with the memory of something else")
    {
        for (const auto& fd : wrong_descriptors()) {
            CHECK(answer_to(
                [&](raw_peer<int>& peer) {
                    peer.fds[0] = fd.get();
                    peer.greet();
                },
                true));
        }
        const auto with = [](const unique_fd& fd) {
            return [&fd](raw_peer<int>& peer) {
                peer.fds[0] = fd.get();
                peer.greet();
            };
        };
        const auto size = raw_peer<int>(ring_role::producer, {}).fields.memory_bytes;
        check_answer(segment_errc::not_sealed, with(memory_of(size, false)));
        check_answer(segment_errc::not_sealed, with(memory_of(size, true)));
        const auto all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
        check_answer(segment_errc::wrong_size, with(memory_of(size / 2, true, all)));
        check_answer(segment_errc::wrong_size, with(memory_of(size * 2, true, all)));
        check_answer(channel_errc::not_a_channel, with(memory_of(size, true, all)));
        check_answer(segment_errc::wrong_size, [](raw_peer<int>& peer) {
            peer.fields.memory_bytes = 4096;
            peer.greet();
        });
        check_answer(channel_errc::not_a_channel, [](raw_peer<int>& peer) {
            peer.header().role = 1;
            peer.greet();
        });
        check_answer(channel_errc::other_version, [](raw_peer<int>& peer) {
            ++peer.header().version;
            peer.greet();
        });
        check_answer(channel_errc::other_type, [](raw_peer<int>& peer) {
            ++peer.header().shape.type;
            peer.greet();
        });
    }

    TEST_CASE("with more memory than is allowed: refused before it is mapped")
    {
        const auto all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
        check_answer(channel_errc::over_limit, [](raw_peer<int>& peer) {
            peer.fields.memory_bytes = (std::uint64_t{64} << 20) + 1;
            peer.greet();
        });
        // What is allowed is looked at, and found to be something else.
        check_answer(segment_errc::wrong_size, [](raw_peer<int>& peer) {
            peer.fields.memory_bytes = std::uint64_t{64} << 20;
            peer.greet();
        });
        check_answer(channel_errc::over_limit, [&](raw_peer<int>& peer) {
            const auto huge = memory_of(4096, true, all);
            peer.fields.memory_bytes = ~std::uint64_t{0};
            peer.fds[0] = huge.get();
            peer.greet();
        });
    }

    TEST_CASE("what the own capacity needs in huge pages is not too much, where they are an option")
    {
        // Without a page of any pool, which is told by what comes after the limit.
        const unique_fd huge(::memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB));
        struct statfs where{};
        if (!huge || ::fstatfs(huge.get(), &where) == -1)
            return procyard_test::skip("this kernel has no huge pages");
        const auto page = static_cast<std::uint64_t>(where.f_bsize);
        REQUIRE(::ftruncate(huge.get(), static_cast<off_t>(2 * page)) == 0);
        REQUIRE(::fcntl(huge.get(), F_ADD_SEALS, procyard_test::all_seals) == 0);
        const auto answer = [&](std::uint64_t bytes, huge_page_policy policy) {
            const auto greet = [&](raw_peer<int>& peer) {
                peer.fields.memory_bytes = bytes;
                peer.fds[0] = huge.get();
                peer.greet();
            };
            return answer_to(greet, true, {.max_peer_bytes = 0, .huge_pages = policy});
        };
        CHECK(answer(page, huge_page_policy::if_available) == segment_errc::wrong_size);
        CHECK(answer(page + 1, huge_page_policy::if_available) == channel_errc::over_limit);
        CHECK(answer(page, huge_page_policy::never) == channel_errc::over_limit);
    }

    TEST_CASE("what the own capacity needs is never too much memory")
    {
        asio::io_context ctx;
        procyard::channel<int> c(ctx.get_executor(),
                                 {.capacity_messages = 3000, .max_peer_bytes = 0});
        CHECK(c.receiver.is_connected());
        CHECK(c.sender.try_send(1));
        CHECK(c.receiver.try_receive() == 1);
    }

    TEST_CASE("with the button of something else")
    {
        for (const auto& fd : wrong_descriptors()) {
            check_answer(procyard::make_errno(EBADMSG), [&](raw_peer<int>& peer) {
                peer.fds[1] = fd.get();
                peer.greet();
            });
        }
        check_answer(procyard::make_errno(EBADMSG), [&](raw_peer<int>& peer) {
            peer.fds[1] = peer.fds[0];
            peer.greet();
        });
    }
}

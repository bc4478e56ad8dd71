// SPDX-License-Identifier: BSL-1.0
// Ends that do not fit each other, hellos that are none, and a kernel that has no more descriptors.
// Whatever is wrong is told, and nothing is left behind.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "limit_guard.hpp"
#include "message_samples.hpp"
#include "raw_peer.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::segment;
using procyard::segment_errc;
using procyard::sender;
using procyard::unique_fd;
using procyard::unopened;
using procyard::detail::ring_role;
using procyard_test::descriptor_check;
using procyard_test::outcome;
using procyard_test::raw_peer;
using procyard_test::run;

namespace here {
struct quote {
    std::uint64_t time = 0;
    double price = 0;
};
struct order {
    std::uint32_t number = 0;
};
}  // namespace here

namespace there {
struct quote {
    std::uint64_t time = 0;
    float price = 0;
    float size = 0;
};
struct order {
    std::uint32_t number = 0;
};
struct bid {
    std::uint64_t time = 0;
    double price = 0;
};
}  // namespace there

template <>
inline constexpr unsigned procyard::schema_version<there::order> = 2;

namespace {

constexpr auto socket_type = SOCK_STREAM | SOCK_CLOEXEC;

// Opens the two ends with what each side believes, and checks that both are told of `expected`, the
// one that comes first too. Their explanations.
template <class Ours, class Theirs>
std::array<std::string, 2> mismatch(error_code expected, const channel_options& ours = {},
                                    const channel_options& theirs = {})
{
    const descriptor_check no_leak;
    asio::io_context ctx;
    auto ends = make_channel<Ours>(ours);
    sender<Ours> s(ctx.get_executor(), std::move(ends.sender));
    outcome<error_code> sent;
    procyard_test::fill(s);
    s.async_wait_writable(sent.handler());
    ctx.poll();
    receiver<Theirs> r(ctx.get_executor(), unopened<receiver<Theirs>>(
                                               std::move(ends.receiver).take(), theirs));
    outcome<error_code> readable;
    r.async_wait_readable(readable.handler());
    run(ctx);
    CHECK(sent.error() == expected);
    CHECK(readable.error() == expected);
    CHECK_FALSE(s.is_open());
    CHECK_FALSE(r.is_open());
    error_code ec;
    CHECK_FALSE(s.try_send({}, ec));
    CHECK(ec == expected);
    return {s.explanation(), r.explanation()};
}

// What a receiver says of a hello of which `change` has made something else; before it has opened,
// or while it waits.
error_code answer_to(const std::function<void(raw_peer<int>&)>& change, bool waiting)
{
    const descriptor_check no_leak;
    asio::io_context ctx;
    auto ends = make_channel<int>();
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

std::vector<unique_fd> wrong_descriptors()
{
    std::vector<unique_fd> made;
    made.emplace_back(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    made.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
    made.emplace_back(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    made.emplace_back(::socket(AF_INET, socket_type, 0));
    made.emplace_back(::eventfd(0, EFD_CLOEXEC));
    return made;
}

}  // namespace

TEST_SUITE("channel handshake: ends that do not fit")
{
    TEST_CASE("another type: both sides say so, and name both (case 51)")
    {
        const auto texts = mismatch<here::quote, there::bid>(channel_errc::other_type);
        for (const auto& text : texts) {
            CHECK_MESSAGE(text.find("quote") != text.npos, text);
            CHECK_MESSAGE(text.find("bid") != text.npos, text);
        }
        CHECK(texts[0] != texts[1]);
    }

    TEST_CASE("the same name with another layout: the field is named (case 51)")
    {
        for (const auto& text : mismatch<here::quote, there::quote>(channel_errc::other_type)) {
            CHECK_MESSAGE(text.find("f64@8") != text.npos, text);
            CHECK_MESSAGE(text.find("f32@8") != text.npos, text);
        }
    }

    TEST_CASE("the same layout with another version of its meaning (case 51)")
    {
        for (const auto& text : mismatch<here::order, there::order>(channel_errc::other_type))
            CHECK_MESSAGE(text.find("version") != text.npos, text);
    }

    TEST_CASE("another size, and one length against any (case 51)")
    {
        for (const auto& text : mismatch<int, std::uint64_t>(channel_errc::other_type))
            CHECK_MESSAGE((text.find("i32") != text.npos && text.find("u64") != text.npos), text);
        for (const auto& text : mismatch<std::string, int>(channel_errc::other_type))
            CHECK_MESSAGE((text.find("str") != text.npos && text.find("i32") != text.npos), text);
    }

    TEST_CASE("another capacity: both are named")
    {
        const auto texts = mismatch<int, int>(channel_errc::other_type, {.capacity_messages = 4},
                                              {.capacity_messages = 16});
        for (const auto& text : texts) {
            CHECK_MESSAGE(text.find("4 units") != text.npos, text);
            CHECK_MESSAGE(text.find("16 units") != text.npos, text);
        }
    }

    TEST_CASE("two senders, and two receivers")
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        auto a = make_channel<int>();
        const sender<int> one(ctx.get_executor(), std::move(a.sender));
        sender<int> two(ctx.get_executor(), unopened<sender<int>>(std::move(a.receiver).take(), {}));
        error_code ec;
        CHECK_FALSE(two.try_send(1, ec));
        CHECK(ec == channel_errc::not_a_channel);
        CHECK_FALSE(two.explanation().empty());
        auto b = make_channel<int>();
        receiver<int> three(ctx.get_executor(), std::move(b.receiver));
        const receiver<int> four(ctx.get_executor(),
                                 unopened<receiver<int>>(std::move(b.sender).take(), {}));
        CHECK_FALSE(four.is_open());
        outcome<error_code, int> received;
        three.async_receive(received.handler());
        run(ctx);
        CHECK(received.error() == channel_errc::not_a_channel);
    }

    TEST_CASE("an end of a descriptor that is no hello socket does not open")
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        for (auto& fd : wrong_descriptors()) {
            error_code ec;
            const sender<int> s(ctx.get_executor(), unopened<sender<int>>(std::move(fd), {}), ec);
            CHECK_FALSE(s.is_open());
        }
    }
}

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
        check_answer(channel_errc::not_a_channel, [](raw_peer<int>& peer) {
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

TEST_SUITE("channel handshake: no descriptors left")
{
    TEST_CASE("at each step: the error is EMFILE, and nothing is left (case 55)")
    {
        for (const bool peer_is_there : {false, true}) {
            int failed = 0;
            bool opened = false;
            for (rlim_t spare = 0; !opened; ++spare) {
                CAPTURE(spare);
                REQUIRE(spare < 20);
                const descriptor_check no_leak;
                asio::io_context ctx;
                const procyard::channel<int> first(ctx.get_executor());
                auto ends = make_channel<int>();
                std::optional<sender<int>> s;
                if (peer_is_there)
                    s.emplace(ctx.get_executor(), std::move(ends.sender));
                const unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                const auto next = static_cast<rlim_t>(probe.get()) + 1;
                const procyard_test::limit_guard few(RLIMIT_NOFILE, next + spare);
                error_code ec;
                receiver<int> r(ctx.get_executor(), std::move(ends.receiver), ec);
                if (!ec && !r.is_open()) {
                    int n = 0;
                    CHECK_FALSE(r.try_receive(n, ec));
                }
                opened = !ec;
                failed += ec == errc::too_many_files_open ? 1 : 0;
                CHECK((opened || ec == errc::too_many_files_open));
            }
            CHECK(failed >= 3);  // the memory, the doorbell's two
        }
    }

    TEST_CASE("when the hello arrives at one who waits: both sides are told (case 55)")
    {
        int failed = 0;
        bool opened = false;
        for (rlim_t spare = 0; !opened; ++spare) {
            CAPTURE(spare);
            REQUIRE(spare < 20);
            const descriptor_check no_leak;
            asio::io_context ctx;
            auto ends = make_channel<int>();
            receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
            outcome<error_code> readable;
            r.async_wait_readable(readable.handler());
            ctx.poll();
            std::optional<sender<int>> s(std::in_place, ctx.get_executor(),
                                         std::move(ends.sender));
            {
                const unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                const auto next = static_cast<rlim_t>(probe.get());
                const procyard_test::limit_guard few(RLIMIT_NOFILE, next + spare);
                ctx.poll();
            }
            opened = r.is_connected();
            if (!opened) {
                ++failed;
                CHECK(readable.error() == errc::too_many_files_open);
                procyard_test::fill(*s);
                outcome<error_code> writable;
                s->async_wait_writable(writable.handler());
                run(ctx);
                CHECK(writable.error() == channel_errc::peer_died);
            }
        }
        CHECK(failed > 0);
    }

    TEST_CASE("a channel without a descriptor is EMFILE, and one of no shape takes none")
    {
        const descriptor_check no_leak;
        const unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        const procyard_test::limit_guard none(RLIMIT_NOFILE,
                                              static_cast<rlim_t>(probe.get()) + 1);
        error_code ec;
        const auto ends = make_channel<int>({}, ec);
        CHECK(ec == errc::too_many_files_open);
        CHECK_FALSE(ends.sender);
        CHECK_FALSE(ends.receiver);
        CHECK_THROWS_WITH_AS((void)make_channel<int>(), doctest::Contains("make channel of i32"),
                             boost::system::system_error);
    }
}

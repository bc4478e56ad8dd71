// SPDX-License-Identifier: BSL-1.0
// Ends that do not fit each other, hellos that are none, and a kernel that has no more descriptors.
// Whatever is wrong is told, and nothing is left behind.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "limit_guard.hpp"
#include "raw_peer.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unique_fd;
using procyard::unopened;
using procyard_test::descriptor_check;
using procyard_test::outcome;
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
    receiver<Theirs> r(ctx.get_executor(),
                       unopened<receiver<Theirs>>(std::move(ends.receiver).take(), theirs));
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
        sender<int> two(ctx.get_executor(),
                        unopened<sender<int>>(std::move(a.receiver).take(), {}));
        error_code ec;
        CHECK_FALSE(two.try_send(1, ec));
        CHECK(ec == channel_errc::other_direction);
        CHECK(two.explanation() == "here a sender, there a sender");
        auto b = make_channel<int>();
        receiver<int> three(ctx.get_executor(), std::move(b.receiver));
        const receiver<int> four(ctx.get_executor(),
                                 unopened<receiver<int>>(std::move(b.sender).take(), {}));
        CHECK_FALSE(four.is_open());
        CHECK(four.explanation() == "here a receiver, there a receiver");
        outcome<error_code, int> received;
        three.async_receive(received.handler());
        run(ctx);
        CHECK(received.error() == channel_errc::other_direction);
    }

    TEST_CASE("an end of a descriptor that is no hello socket does not open")
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        for (auto& fd : procyard_test::wrong_descriptors()) {
            error_code ec;
            const sender<int> s(ctx.get_executor(), unopened<sender<int>>(std::move(fd), {}), ec);
            CHECK_FALSE(s.is_open());
        }
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

    TEST_CASE("when the hello arrives at one who waits: it is told, and later it works (case 55)")
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
            sender<int> s(ctx.get_executor(), std::move(ends.sender));
            CHECK(s.try_send(1));
            const auto before = procyard_test::open_descriptors();
            {
                const unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                const auto next = static_cast<rlim_t>(probe.get());
                const procyard_test::limit_guard few(RLIMIT_NOFILE, next + spare);
                ctx.poll();
                opened = r.is_connected();
                if (!opened) {
                    ++failed;
                    CHECK(readable.error() == errc::too_many_files_open);
                    int n = 0;
                    error_code ec;
                    CHECK_FALSE(r.try_receive(n, ec));
                    CHECK(ec == errc::too_many_files_open);
                    CHECK(r.is_open());
                }
            }
            if (!opened)
                CHECK(procyard_test::open_descriptors() == before);
            CHECK(r.try_receive() == 1);
            CHECK(s.try_send(2));
            CHECK(r.try_receive() == 2);
        }
        CHECK(failed >= 3);  // the hello's two, and the button opened anew
    }

    TEST_CASE(
        "when the hello arrives at one who sends: it fills its ring, and is told when it waits")
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        auto ends = make_channel<int>({.capacity_messages = 2});
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        outcome<error_code> sent;
        {
            const unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
            const procyard_test::limit_guard none(RLIMIT_NOFILE,
                                                  static_cast<rlim_t>(probe.get()) + 1);
            CHECK(s.try_send(1));
            CHECK(s.try_send(2));
            s.async_send(3, sent.handler());
            run(ctx);
            CHECK(sent.error() == errc::too_many_files_open);
        }
        CHECK(r.try_receive() == 1);
        CHECK(s.try_send(3));
        CHECK(r.try_receive() == 2);
        CHECK(r.try_receive() == 3);
    }

    TEST_CASE("a channel without a descriptor is EMFILE, and one of no shape takes none")
    {
        const descriptor_check no_leak;
        const unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        const procyard_test::limit_guard none(RLIMIT_NOFILE, static_cast<rlim_t>(probe.get()) + 1);
        error_code ec;
        const auto ends = make_channel<int>({}, ec);
        CHECK(ec == errc::too_many_files_open);
        CHECK_FALSE(ends.sender);
        CHECK_FALSE(ends.receiver);
        CHECK_THROWS_WITH_AS((void)make_channel<int>(), doctest::Contains("make channel of i32"),
                             boost::system::system_error);
    }
}

// SPDX-License-Identifier: BSL-1.0
// Listeners that give a subscription, a reader of a latest value or a consumer's end to a client,
// and lie: what they give is none, or is taken back. The client is told by an error which it is,
// and nothing is left of the attempt.
#include <procyard/ipc/channel_connect.hpp>

#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/latest_value.hpp>
#include <procyard/ipc/segment_error.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/work_queue.hpp>

#include "connection_messages.hpp"
#include "message_samples.hpp"
#include "raw_giver.hpp"

namespace asio = boost::asio;
using namespace procyard;
using procyard::detail::connection_status;
using procyard_test::descriptor_check;
using procyard_test::end_letter;
using procyard_test::end_owner;
using procyard_test::raw_giver;

namespace {

using number = std::uint64_t;

template <class End>
constexpr bool is_consumer = detail::given_kind<End>::sort == detail::end_sort::work_queue;

// Calls `test.operator()<End>()` for all ends that are given as one descriptor.
template <class Test>
void for_each_end(Test test)
{
    test.template operator()<subscriber<number>>();
    test.template operator()<latest_reader<number>>();
    test.template operator()<work_source<number>>();
}

// Changes a letter.
template <class Value>
auto put(std::size_t at, Value value)
{
    return [=](end_letter& l) { procyard_test::put_at(l.bytes, at, value); };
}

// Until nothing more goes into it.
void fill_up(int socket)
{
    while (::send(socket, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) { }
}

// What a client is told that gets what `give` puts into the answer.
template <class End, class Give>
error_code told(Give give)
{
    const descriptor_check no_leak;
    end_owner<number> program;
    raw_giver<End> here;
    give(program, here);
    return here.answer();
}

// The same, of any descriptor.
template <class End>
error_code told_with(int fd)
{
    return told<End>([=](auto&, auto& here) { here.listener.answer_fds = {fd}; });
}

// The same, of a letter that has been changed.
template <class End, class Change>
error_code told_of(Change change)
{
    return told<End>([&](auto& program, auto& here) {
        end_letter changed(program.template make<End>());
        change(changed);
        here.give(changed);
    });
}

// No error: it does not matter which.
template <class End, class Change>
void check(const std::string& name, const error_code& expected, Change change)
{
    CAPTURE(name);
    const auto got = told_of<End>(change);
    CHECK_MESSAGE((expected ? got == expected : got.failed()), got.message());
}

// One that has got an end, and waits for the last word.
template <class End>
struct entering {
    entering()
    {
        here.give(program.template make<End>());
        here.listener.reply();
        here.client.ctx.poll();
        CHECK_FALSE(here.client.connected.done());
        CHECK(program.clients() == 1);
    }
    void check_told(const error_code& expected)
    {
        CHECK(here.told() == expected);
        here.kept.clear();
        CHECK(program.clients() == 0);
    }

    const descriptor_check no_leak;
    end_owner<number> program;
    raw_giver<End> here;
};

}  // namespace

TEST_SUITE("async_connect: hostile listeners of given ends")
{
    TEST_CASE("an end comes as one descriptor: none, two, or a hundred are bad_hello")
    {
        for_each_end([]<class End>() {
            for (const std::size_t count : {0U, 2U, 3U, 100U}) {
                CAPTURE(count);
                const auto got = told<End>([=](auto& program, auto& here) {
                    here.give(program.template make<End>());
                    here.listener.answer_fds.resize(count, here.kept[0].get());
                });
                CHECK(got == channel_errc::bad_hello);
            }
        });
    }

    TEST_CASE("a descriptor with nothing in it, whose other side has closed, or that is no socket")
    {
        for_each_end([]<class End>() {
            const auto none =
                is_consumer<End> ? channel_errc::already_taken : channel_errc::bad_hello;
            auto ends = procyard_test::socket_pair();
            CHECK(told_with<End>(ends.second.get()) == none);
            ends.first.reset();
            CHECK(told_with<End>(ends.second.get()) == none);
            const auto wrong = procyard_test::wrong_descriptors();
            for (const auto& fd : wrong) {
                const bool is_socket = &fd == &wrong[3];  // of the network, not connected
                CHECK(told_with<End>(fd.get()) == make_errno(is_socket ? ENOTCONN : ENOTSOCK));
            }
        });
    }

    TEST_CASE("an end of another kind, or of another type, says of which")
    {
        for_each_end([]<class End>() {
            const auto of_channel = told<End>([](auto&, auto& here) {
                here.listener.ring().greet();
                here.give(std::move(here.listener.offered));
            });
            CHECK(of_channel == channel_errc::other_direction);
            // A broadcast in the place of a latest value, and the reverse: below.
            using consumer = work_source<number>;
            using other = std::conditional_t<is_consumer<End>, subscriber<number>, consumer>;
            const auto of_other = told<End>(
                [](auto& program, auto& here) { here.give(program.template make<other>()); });
            CHECK(of_other == channel_errc::other_direction);
        });
        const auto check_type = []<class End, class Other>() {
            const descriptor_check no_leak;
            end_owner<double> program;
            raw_giver<End> here;
            here.give(program.make<Other>());
            CHECK(here.answer() == channel_errc::other_type);
            CHECK(here.client.failure.explanation.find("f64") != std::string::npos);
        };
        check_type.template operator()<subscriber<number>, subscriber<double>>();
        check_type.template operator()<latest_reader<number>, latest_reader<double>>();
        check_type.template operator()<work_source<number>, work_source<double>>();
    }

    TEST_CASE("a latest value in the place of a subscription, and the reverse: both are named")
    {
        const auto check_kind = []<class End, class Other>(const std::string& said) {
            const descriptor_check no_leak;
            end_owner<number> program;
            raw_giver<End> here;
            here.give(program.make<Other>());
            CHECK(here.answer() == channel_errc::other_direction);
            CHECK(here.client.failure.explanation == said);
            here.kept.clear();
            CHECK(program.clients() == 0);
        };
        check_kind.operator()<subscriber<number>, latest_reader<number>>(
            "here a subscriber, there a latest value");
        check_kind.operator()<latest_reader<number>, subscriber<number>>(
            "here a latest_reader, there a broadcast");
    }

    TEST_CASE("garbage in the given socket")
    {
        const auto bad = channel_errc::bad_hello;
        for_each_end([&]<class End>() {
            check<End>("one byte", bad, [](auto& l) { l.bytes.resize(1); });
            check<End>("too long", bad, [](auto& l) { l.bytes.resize(60'000); });
            check<End>("at random", bad, [](auto& l) {
                procyard_test::fixed_random random(7);
                for (auto& byte : l.bytes)
                    byte = static_cast<std::byte>(random.next());
            });
            check<End>("magic", bad, [](auto& l) { l.bytes[0] ^= std::byte{1}; });
            check<End>("version", channel_errc::other_version, put(8, 7U));
            check<End>("no descriptors", bad, [](auto& l) { l.fds.clear(); });
            check<End>("one descriptor", bad, [](auto& l) { l.fds.pop_back(); });
            check<End>("three", bad, [](auto& l) { l.fds.push_back(l.fds[0]); });
            const auto wrong = procyard_test::wrong_descriptors();
            for (const std::size_t place : {0U, 1U})
                for (const auto& fd : wrong)
                    check<End>("of a file", {}, [&](auto& l) { l.fds[place] = fd.get(); });
        });
        using consumer = work_source<number>;
        const auto not_both = channel_errc::other_direction;
        check<consumer>("items alone", not_both, [](auto& l) { l.fds[1] = l.fds[0]; });
        check<consumer>("answers alone", not_both, [](auto& l) { l.fds[0] = l.fds[1]; });
    }

    TEST_CASE("sizes and numbers in the given socket that there cannot be, or that are not allowed")
    {
        constexpr auto huge = number{1} << 40U;
        const auto bad = channel_errc::bad_hello;
        for_each_end([&]<class End>() {
            if constexpr (is_consumer<End>) {
                for (const number leases : {number{0}, number{4097}, huge, ~number{0}})
                    check<End>("leases", bad, put(16, leases));
                check<End>("capacity", channel_errc::over_limit, put(24, huge));
                check<End>("capacity", channel_errc::bad_shape, put(24, ~number{0}));
            } else {
                check<End>("a reader's", bad, put(12, std::uint16_t{1}));
                check<End>("no manner", bad, put(14, std::uint16_t{9}));
                check<End>("no capacity", channel_errc::bad_shape, put(16, number{0}));
                check<End>("capacity", segment_errc::wrong_size, put(16, huge));
                check<End>("cells", channel_errc::other_type, put(24, huge));
                check<End>("type", channel_errc::other_type, put(32, number{1}));
                check<End>("little memory", segment_errc::wrong_size, put(40, number{8}));
                check<End>("much memory", channel_errc::over_limit, put(40, huge));
            }
        });
    }

    TEST_CASE("each byte of it wrong, and each length too short: an error, or an end as any other")
    {
        for_each_end([]<class End>() {
            constexpr std::size_t header_bytes = is_consumer<End> ? 40 : 64;
            for (std::size_t at = 0; at < header_bytes; ++at) {
                CAPTURE(at);
                (void)told_of<End>([=](auto& l) { l.bytes[at] ^= std::byte{0xff}; });
                if (at > 0)  // of nothing there can be no packet
                    check<End>("short", channel_errc::bad_hello,
                               [=](auto& l) { l.bytes.resize(at); });
            }
        });
    }

    TEST_CASE("sockets that are full, so that no answer goes in")
    {
        const auto bad = channel_errc::bad_hello;
        for_each_end([&]<class End>() {
            if constexpr (is_consumer<End>) {  // it answers into those of its channels
                check<End>("items", bad, [](auto& l) { fill_up(l.fds[0]); });
                check<End>("answers", bad, [](auto& l) { fill_up(l.fds[1]); });
            } else {
                CHECK(told<End>([](auto& program, auto& here) {
                          here.give(program.template make<End>());
                          fill_up(here.listener.answer_fds[0]);
                      })
                      == bad);
            }
        });
    }
}

TEST_SUITE("async_connect: listeners of given ends that take them back, die or sleep")
{
    TEST_CASE("a refusal, or nonsense, after the end was given: it is closed, and its owner hears")
    {
        const auto after = [](connection_status status, error_code expected, std::size_t length) {
            for_each_end([&]<class End>() {
                entering<End> test;
                test.here.listener.confirmation = procyard_test::answer_of(status);
                test.here.listener.confirmation.resize(length);
                test.here.listener.confirm();
                test.check_told(expected);
            });
        };
        after(connection_status::refused, channel_errc::refused, 40);
        after(connection_status::too_slow, channel_errc::too_slow, 40);
        after(static_cast<connection_status>(4711), channel_errc::refused, 40);
        after(connection_status::accepted, channel_errc::bad_hello, 1);
        after(connection_status::accepted, channel_errc::bad_hello, 41);
    }

    TEST_CASE("one that has given an end and hangs up, or says no more until that is cancelled")
    {
        for_each_end([]<class End>() {
            entering<End> left;
            left.here.listener.hang_up();
            left.check_told(asio::error::connection_reset);
        });
        for_each_end([]<class End>() {
            entering<End> silent;
            silent.here.deadline.emit(asio::cancellation_type::terminal);
            silent.check_told(asio::error::operation_aborted);
        });
    }

    TEST_CASE("an honest raw one gives each of them, which is what the others are measured by")
    {
        for_each_end([]<class End>() {
            for (const bool has_gone : {false, true}) {
                CAPTURE(has_gone);
                const descriptor_check no_leak;
                std::optional<end_owner<number>> program(std::in_place);
                raw_giver<End> here;
                here.give(end_letter(program->make<End>()));
                if (has_gone)  // that is told by the end, as of any other
                    program.reset();
                const auto told = here.answer();
                CHECK_MESSAGE(!told, told.message());
            }
        });
    }
}

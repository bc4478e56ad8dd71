// SPDX-License-Identifier: BSL-1.0
//
// The limits: what shared memory and the kernel give to a loop written for one purpose.

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../channel/round.hpp"
#include "channel_ring.hpp"

namespace {

// One message in one cache line, whose first word says that it has changed.
template <std::size_t Bytes>
class shared_line_link {
public:
    explicit shared_line_link(const bench::round_options&)
        : line_(bench::make_shared_object<line>())
    {
    }

    void open_receiver() { }
    void open_sender() { }

    void send(const bench::message<Bytes>& m)
    {
        std::memcpy(line_.rest.data(), &m.words[1], sizeof line_.rest);
        line_.first.store(m.words[0] + 1, std::memory_order_release);
    }

    void receive(bench::message<Bytes>& m)
    {
        std::uint64_t first = 0;
        while ((first = line_.first.load(std::memory_order_acquire)) == seen_)
            bench::relax();
        seen_ = first;
        m.words[0] = first - 1;
        std::memcpy(&m.words[1], line_.rest.data(), sizeof line_.rest);
    }

private:
    struct line {
        alignas(Bytes) std::atomic<std::uint64_t> first = 0;
        std::array<std::uint64_t, Bytes / sizeof(std::uint64_t) - 1> rest{};
    };

    line& line_;
    std::uint64_t seen_ = 0;
};

// The message in shared memory, and an eventfd that an event loop could wait for.
template <std::size_t Bytes>
class eventfd_link {
public:
    explicit eventfd_link(const bench::round_options&)
        : message_(bench::make_shared_object<bench::message<Bytes>>()),
          event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
    {
        bench::require(event_ != -1, "eventfd");
    }
    eventfd_link(const eventfd_link&) = delete;
    eventfd_link& operator=(const eventfd_link&) = delete;
    ~eventfd_link() { ::close(event_); }

    void open_receiver()
    {
        epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
        epoll_event event{};
        event.events = EPOLLIN;
        bench::require(::epoll_ctl(epoll_, EPOLL_CTL_ADD, event_, &event) == 0, "epoll_ctl");
    }
    void open_sender() { }

    void send(const bench::message<Bytes>& m)
    {
        message_ = m;
        const std::uint64_t one = 1;
        bench::require(::write(event_, &one, sizeof one) == sizeof one, "write to the eventfd");
    }

    void receive(bench::message<Bytes>& m)
    {
        std::uint64_t count = 0;
        epoll_event event{};
        do
            bench::require(::epoll_wait(epoll_, &event, 1, -1) >= 0, "epoll_wait");
        while (::read(event_, &count, sizeof count) != sizeof count);
        m = message_;
    }

private:
    bench::message<Bytes>& message_;
    int event_;
    int epoll_ = -1;
};

// What a copy into shared memory and a copy out of it cost when they take turns: with both going on
// at once, no channel that copies is faster than the slower of them.
template <std::size_t Bytes>
void memcpy_round(const bench::round_options& options)
{
    constexpr auto capacity = bench::capacity_of<Bytes>;
    struct shared {
        alignas(128) std::atomic<std::uint64_t> turn = 0;  // odd: the receiver's
        double in_us = 0;
        alignas(4096) bench::message<Bytes> cells[capacity];
    };
    auto& s = bench::make_shared_object<shared>();
    const auto wait_for_turn = [&s](std::uint64_t turn) {
        while (s.turn.load(std::memory_order_acquire) != turn)
            bench::relax();
    };
    const auto copy = [](bench::message<Bytes>& to, const bench::message<Bytes>& from) {
        const double before_us = bench::now_us();
        std::memcpy(&to, &from, Bytes);
        return bench::now_us() - before_us;
    };
    bench::process_pair pair(options);
    pair.run(
        [&] {
            const auto m = bench::make_messages<Bytes>(1);
            bench::incoming in;
            double out_us = 0;
            std::uint64_t number = 0;
            do {
                wait_for_turn(2 * number + 1);
                out_us += copy(m[0], s.cells[number++ % capacity]);
                s.turn.store(2 * number, std::memory_order_release);
            } while (in.take(m[0]));
            bench::report(
                {{"gb_per_s",
                  static_cast<double>(Bytes * number) / std::max(s.in_us, out_us) / 1e3}});
        },
        [&] {
            const auto m = bench::make_messages<Bytes>(1);
            bench::outgoing out(options);
            std::uint64_t number = 0;
            do {
                out.number(m[0]);
                wait_for_turn(2 * number);
                s.in_us += copy(s.cells[number % capacity], m[0]);
                s.turn.store(2 * number++ + 1, std::memory_order_release);
            } while (!out.ended());
        });
}

void run(const bench::round_options& options)
{
    const auto mechanism = options.text("mechanism", "ring");
    if (mechanism == "ring")
        bench::run_link<bench::raw_ring_link>(options);
    else if (mechanism == "line")
        bench::ping_round<64, shared_line_link<64>>(options);
    else if (mechanism == "eventfd")
        bench::ping_round<64, eventfd_link<64>>(options);
    else if (mechanism == "memcpy")
        bench::for_message_size(options,
                                [&]<std::size_t Bytes>(std::integral_constant<std::size_t, Bytes>) {
                                    memcpy_round<Bytes>(options);
                                });
    else
        bench::require(false, "mechanism=ring|line|eventfd|memcpy");
}

}  // namespace

int main(int argc, char** argv)
{
    run(bench::round_options(argc, argv));
}

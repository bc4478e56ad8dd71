// SPDX-License-Identifier: BSL-1.0
// Broadcasts, latest values, fan-ins and work queues where descriptors or memory run out while an
// end is made or opened: the error says so, nothing is left of the attempt, what was there before
// goes on, and later the same works.
#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/fan_in.hpp>
#include <procyard/ipc/latest_value.hpp>
#include <procyard/ipc/work_queue.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "channel_fixture.hpp"
#include "limit_guard.hpp"
#include "mapped_segments.hpp"
#include "syscall_refusal.hpp"

namespace asio = boost::asio;
using procyard::arrival;
using procyard::broadcaster;
using procyard::channel;
using procyard::error_code;
using procyard::fan_in;
using procyard::latest_reader;
using procyard::latest_value;
using procyard::leased;
using procyard::sender;
using procyard::subscriber;
using procyard::unopened;
using procyard::work_queue;
using procyard::work_source;
using procyard_test::limit_guard;
using procyard_test::mapped_segments;
using procyard_test::open_descriptor_list;
using procyard_test::outcome;
using procyard_test::syscall_refusal;

namespace {

constexpr procyard::broadcast_options few_cells{.capacity_messages = 4};

// What is tried below. Each has
//     prepare():    what the attempt uses up, made while there is enough of everything;
//     attempt():    what may fail;
//     is_as_before(): after a failure, with all that was prepared gone: what was there goes on, and
//                   knows of nobody else;
//     is_in_use():  after a success: what was made does what it is for.
// They say by a bool what was wrong, since they also run in copies of this process.
struct place {
    void prepare() { }
    [[nodiscard]] static bool is_as_before() { return true; }
    // What is under way in this thread alone needs no waiting.
    void settle()
    {
        for (int turns = 0; turns < 10; ++turns) {
            ctx.restart();
            ctx.poll();
        }
    }

    asio::io_context ctx;
    asio::steady_timer reactor{ctx};                        // makes it
    std::optional<channel<int>> first{ctx.get_executor()};  // what a process needs once is there
};

// --- broadcasts ---------------------------------------------------------------------------------

struct making_broadcaster : place {
    error_code attempt()
    {
        error_code ec;
        made = broadcaster<int>(ctx.get_executor(), few_cells, ec);
        return ec;
    }
    bool is_in_use() { return made.try_send(1) && made.subscribe(); }

    broadcaster<int> made;
};

struct broadcasting : place {
    broadcasting() { REQUIRE(goes_on(1)); }
    [[nodiscard]] bool goes_on(std::size_t readers)
    {
        return numbers.try_send(++sent) && known.try_receive() == sent
            && numbers.readers() == readers;
    }
    [[nodiscard]] bool is_as_before() { return goes_on(1); }
    [[nodiscard]] bool is_heard_by(subscriber<int>& s)
    {
        return goes_on(2) && s.try_receive() == sent;
    }

    broadcaster<int> numbers{ctx.get_executor(), few_cells};
    subscriber<int> known{ctx.get_executor(), numbers.subscribe()};
    int sent = 0;
};

struct making_subscription : broadcasting {
    error_code attempt()
    {
        error_code ec;
        made = numbers.subscribe({}, ec);
        return ec;
    }
    bool is_in_use()
    {
        subscriber<int> s(ctx.get_executor(), std::move(made));
        return is_heard_by(s);
    }

    unopened<subscriber<int>> made;
};

struct opening_subscription : broadcasting {
    void prepare() { end = numbers.subscribe(); }
    error_code attempt()
    {
        error_code ec;
        made = subscriber<int>(ctx.get_executor(), std::move(end), ec);
        return ec;
    }
    bool is_in_use() { return is_heard_by(made); }

    unopened<subscriber<int>> end;
    subscriber<int> made;
};

// --- latest values ------------------------------------------------------------------------------

struct making_latest_value : place {
    error_code attempt()
    {
        error_code ec;
        made = latest_value<int>(ctx.get_executor(), ec);
        return ec;
    }
    bool is_in_use()
    {
        latest_reader<int> r(ctx.get_executor(), made.subscribe());
        return made.store(5) && r.load() == 5;
    }

    latest_value<int> made;
};

struct storing : place {
    storing() { REQUIRE(goes_on(1)); }
    [[nodiscard]] bool goes_on(std::size_t readers)
    {
        return value.store(++stored) && known.load() == stored && value.readers() == readers;
    }
    [[nodiscard]] bool is_as_before() { return goes_on(1); }

    latest_value<int> value{ctx.get_executor()};
    latest_reader<int> known{ctx.get_executor(), value.subscribe()};
    int stored = 0;
};

struct opening_latest_reader : storing {
    void prepare() { end = value.subscribe(); }
    error_code attempt()
    {
        error_code ec;
        made = latest_reader<int>(ctx.get_executor(), std::move(end), ec);
        return ec;
    }
    bool is_in_use() { return goes_on(2) && made.load() == stored; }

    unopened<latest_reader<int>> end;
    latest_reader<int> made;
};

// --- fan-ins ------------------------------------------------------------------------------------

struct making_fan_in : place {
    error_code attempt()
    {
        error_code ec;
        made = fan_in<int>(ctx.get_executor(), {}, ec);
        return ec;
    }
    bool is_in_use() { return made.is_open(); }

    fan_in<int> made;
};

struct adding_source : place {
    adding_source()
    {
        from.add(std::move(there.receiver));
        REQUIRE(goes_on(1));
    }
    [[nodiscard]] bool comes(int message)
    {
        outcome<error_code, arrival<int>> got;
        from.async_receive(got.handler());
        settle();
        const bool good =
            got.done() && !got.error() && !got.result().ended && got.result().message == message;
        from.cancel();
        settle();
        return good;
    }
    [[nodiscard]] bool goes_on(std::size_t sources)
    {
        return there.sender.try_send(++sent) && comes(sent) && from.source_count() == sources;
    }
    void prepare() { ends = procyard::make_channel<int>({.capacity_messages = 4}); }
    error_code attempt()
    {
        error_code ec;
        from.add(std::move(ends.receiver), {}, ec);
        return ec;
    }
    bool is_as_before()
    {
        ends = {};
        return goes_on(1);
    }
    bool is_in_use()
    {
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        return s.try_send(-1) && comes(-1) && goes_on(2);
    }

    fan_in<int> from{ctx.get_executor()};
    channel<int> there{ctx.get_executor(), {.capacity_messages = 4}};
    procyard::unopened_channel<int> ends;
    int sent = 0;
};

// --- work queues --------------------------------------------------------------------------------

struct making_work_queue : place {
    error_code attempt()
    {
        error_code ec;
        made = work_queue<int>(ctx.get_executor(), {}, ec);
        return ec;
    }
    bool is_in_use()
    {
        error_code ec;
        return made.try_push(1, ec) && made.consumer();
    }

    work_queue<int> made;
};

struct queueing : place {
    queueing()
    {
        (void)queue.consumer();  // the queue keeps the last one that has gone
        REQUIRE(goes_on(1, 0));
    }
    // Another item through the queue, to this consumer.
    [[nodiscard]] bool is_served(work_source<int>& consumer)
    {
        error_code ec;
        leased<int> item;
        if (consumer.try_take(item, ec) || ec != asio::error::would_block)
            return false;  // now it has asked
        if (!queue.try_push(++pushed, ec))
            return false;
        settle();
        const bool good =
            consumer.try_take(item, ec) && item.value() == pushed && item.acknowledge();
        settle();
        return good;
    }
    [[nodiscard]] bool goes_on(std::uint64_t consumers, std::uint64_t producers)
    {
        settle();
        if (!is_served(known))
            return false;
        const auto now = queue.statistics();
        return now.consumers == consumers && now.producers == producers && now.leased == 0;
    }
    [[nodiscard]] bool is_as_before() { return goes_on(1, 0); }

    work_queue<int> queue{ctx.get_executor()};
    work_source<int> known{ctx.get_executor(), queue.consumer()};
    int pushed = 0;
};

struct making_producer : queueing {
    error_code attempt()
    {
        error_code ec;
        made = queue.producer(ec);
        return ec;
    }
    bool is_in_use()
    {
        if (!goes_on(1, 1))
            return false;
        error_code ec;
        leased<int> item;
        (void)known.try_take(item, ec);
        sender<int> s(ctx.get_executor(), std::move(made));
        if (!s.try_send(-1))
            return false;
        settle();
        return known.try_take(item, ec) && item.value() == -1;
    }

    unopened<sender<int>> made;
};

struct making_consumer : queueing {
    error_code attempt()
    {
        error_code ec;
        made = queue.consumer(ec);
        return ec;
    }
    bool is_in_use()
    {
        work_source<int> c(ctx.get_executor(), std::move(made));
        return is_served(c) && goes_on(2, 0);
    }

    unopened<work_source<int>> made;
};

struct opening_consumer : queueing {
    void prepare() { end = queue.consumer(); }
    error_code attempt()
    {
        error_code ec;
        made = work_source<int>(ctx.get_executor(), std::move(end), ec);
        return ec;
    }
    bool is_in_use() { return is_served(made) && goes_on(2, 0); }

    unopened<work_source<int>> end;
    work_source<int> made;
};

// --- what is done with them ---------------------------------------------------------------------

// What there is of this process, outside of private memory.
struct holdings {
    std::vector<std::string> descriptors = open_descriptor_list();
    std::size_t mappings = mapped_segments().mappings;

    friend bool operator==(const holdings&, const holdings&) = default;
};

// With no descriptor, with one, two, …, until it works. How often it did not.
template <class Subject>
int failures_for_descriptors()
{
    for (int spare = 0;; ++spare) {
        CAPTURE(spare);
        REQUIRE(spare < 30);
        const procyard_test::descriptor_check no_leak;
        Subject subject;
        const holdings before;
        subject.prepare();
        error_code ec;
        {
            const procyard::unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
            const auto next = static_cast<rlim_t>(probe.get()) + 1;
            const limit_guard few(RLIMIT_NOFILE, next + static_cast<rlim_t>(spare));
            ec = subject.attempt();
        }
        if (!ec) {
            CHECK(subject.is_in_use());
            return spare;
        }
        CHECK(ec == boost::system::errc::too_many_files_open);
        CHECK(subject.is_as_before());
        CHECK(open_descriptor_list() == before.descriptors);
        CHECK(mapped_segments().mappings == before.mappings);
        subject.prepare();
        CHECK_FALSE(subject.attempt());
        CHECK(subject.is_in_use());
    }
}

// Every system call that makes descriptors or takes memory for an end, but two that take one: the
// openat of a doorbell's button and the recvmsg of a hello. Those find none in the walks above: to
// refuse openat here would blind the look at what is left, and recvmsg leaves out what it has no
// place for.
constexpr syscall_refusal refusals[]{
    {.number = SYS_memfd_create, .error_number = ENFILE},
    {.number = SYS_fallocate, .error_number = ENOSPC},
    {.number = SYS_mmap, .error_number = ENOMEM, .argument = 3, .mask = 0xf, .value = MAP_SHARED},
    {.number = SYS_pipe2, .error_number = ENFILE},
    {.number = SYS_socketpair, .error_number = ENFILE},
    {.number = SYS_sendmsg, .error_number = ETOOMANYREFS},
    {.number = SYS_epoll_create1, .error_number = EMFILE},
    {.number = SYS_epoll_ctl,
     .error_number = ENOSPC,
     .argument = 1,
     .mask = ~0U,
     .value = EPOLL_CTL_ADD},
};

// Under a kernel that refuses one of them, in a copy of this process. 0: it is none of these that
// it makes; 1: the error is that one, and nothing is left; or what was wrong.
template <class Subject>
int attempt_under(const syscall_refusal& what)
{
    return procyard_test::in_fork([&] {
        Subject subject;
        const holdings before;
        subject.prepare();
        if (!procyard_test::refuse(what))
            return 10;
        const auto ec = subject.attempt();
        if (!ec)
            return 0;
        std::fprintf(stderr, "%s\n", ec.message().c_str());
        if (ec != procyard::make_errno(what.error_number))
            return 11;
        if (!subject.is_as_before())
            return 12;
        return holdings() == before ? 1 : 13;
    });
}

template <class Subject>
int failures_for_system_calls()
{
    int failed = 0;
    for (const auto& what : refusals) {
        CAPTURE(what.number);
        const int found = attempt_under<Subject>(what);
        CHECK_MESSAGE(found <= 1, found);
        failed += found;
    }
    return failed;
}

}  // namespace

TEST_SUITE("ends: no descriptors at some step, with ever more of them (case 55)")
{
    TEST_CASE("a broadcast, a subscription, and opening that: EMFILE, and nothing is left")
    {
        CHECK(failures_for_descriptors<making_broadcaster>() >= 2);
        CHECK(failures_for_descriptors<making_subscription>() >= 4);
        CHECK(failures_for_descriptors<opening_subscription>() >= 4);
    }

    TEST_CASE("a latest value, and opening a reader of it: EMFILE, and nothing is left")
    {
        CHECK(failures_for_descriptors<making_latest_value>() >= 2);
        CHECK(failures_for_descriptors<opening_latest_reader>() >= 4);
    }

    TEST_CASE("a fan-in, and an end that is added to it: EMFILE, and nothing is left")
    {
        CHECK(failures_for_descriptors<making_fan_in>() >= 1);
        CHECK(failures_for_descriptors<adding_source>() >= 3);
    }

    TEST_CASE("a work queue, its producers and consumers: EMFILE, and nothing is left")
    {
        CHECK(failures_for_descriptors<making_work_queue>() >= 2);
        CHECK(failures_for_descriptors<making_producer>() >= 4);
        CHECK(failures_for_descriptors<making_consumer>() >= 8);
        CHECK(failures_for_descriptors<opening_consumer>() >= 6);
    }
}

TEST_SUITE("ends: a system call that is refused, each that takes descriptors or memory (case 55)")
{
    TEST_CASE("of a broadcast or a latest value: that error, and nothing is left")
    {
        CHECK(failures_for_system_calls<making_broadcaster>() >= 4);
        CHECK(failures_for_system_calls<making_subscription>() >= 4);
        CHECK(failures_for_system_calls<opening_subscription>() >= 5);
        CHECK(failures_for_system_calls<making_latest_value>() >= 4);
        CHECK(failures_for_system_calls<opening_latest_reader>() >= 5);
    }

    TEST_CASE("of a fan-in or a work queue: that error, and nothing is left")
    {
        CHECK(failures_for_system_calls<making_fan_in>() >= 1);
        CHECK(failures_for_system_calls<adding_source>() >= 6);
        CHECK(failures_for_system_calls<making_work_queue>() >= 1);
        CHECK(failures_for_system_calls<making_producer>() >= 7);
        CHECK(failures_for_system_calls<making_consumer>() >= 7);
        CHECK(failures_for_system_calls<opening_consumer>() >= 5);
    }
}

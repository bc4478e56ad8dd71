// SPDX-License-Identifier: BSL-1.0
// A pool to which the kernel refuses what it needs.
#include <procyard/runtime/process_pool.hpp>

#include <boost/asio/error.hpp>

#include <doctest/doctest.h>

#include <sys/epoll.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <thread>

#include "pool_fixture.hpp"
#include "syscall_refusal.hpp"
#include "temporary_directory.hpp"

using namespace procyard_test;
using procyard::pool_errc;

// In a thread of its own, which keeps what it is refused.
TEST_CASE("a worker that a task cannot be sent to ends, and says why")
{
    std::thread([] {
        temporary_directory place;
        pool_gate gate((place.path() / "gate").string());
        auto options = of_workers(1);
        options.channels.capacity_bytes = 4096;
        pooled pool(options);
        pool.must_start();
        auto first = pool.submit(make_work("gate", 0, gate.path()));
        pool.until([&] { return gate.is_reached(); });
        // It has to wait for room, and cannot.
        REQUIRE(refuse({.number = SYS_epoll_ctl,
                        .error_number = ENOSPC,
                        .argument = 1,
                        .mask = ~std::uint32_t{0},
                        .value = EPOLL_CTL_ADD}));
        auto second = pool.submit(make_work("length", 0, std::string(200'000, 'r')));
        // Else another worker is started for it, which is refused as well.
        second.cancel();
        pool.stop();
        gate.open();
        CHECK(pool.error(first) == pool_errc::worker_died);
        CHECK(pool.error(second) == boost::asio::error::operation_aborted);
        REQUIRE(first.report().deaths.size() == 1);
        const auto& said = first.report().deaths.front()->text;
        CHECK_MESSAGE(said.find("its channel: ") == 0, said);
    }).join();
}

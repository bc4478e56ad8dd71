// SPDX-License-Identifier: BSL-1.0
// Random traffic through a pipe with random cancellations: no byte is lost, doubled or misplaced.
#include <procyard/ipc/pipe.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::make_pipe;
using procyard_test::run;

namespace {

// The byte that belongs at a position of the stream.
char expected(std::size_t position)
{
    return static_cast<char>((position * 2'654'435'761U) >> 13U);
}

class random_source {
public:
    explicit random_source(std::uint32_t seed) : engine_(seed) { }
    std::size_t up_to(std::size_t most)
    {
        return std::uniform_int_distribution<std::size_t>(0, most)(engine_);
    }
    bool one_in(std::size_t n) { return up_to(n - 1) == 0; }

private:
    std::mt19937 engine_;
};

// Splits memory into up to twenty buffers, empty ones among them.
template <class Buffer>
std::vector<Buffer> split(Buffer whole, random_source& random)
{
    std::vector<Buffer> parts;
    while (whole.size() > 0 && parts.size() < 20) {
        const auto n = random.up_to(whole.size());
        parts.push_back(asio::buffer(whole, n));
        whole += n;
    }
    parts.push_back(whole);
    return parts;
}

// One direction of the traffic: starts operations one after the other until `total` bytes have
// gone, and cancels some of them, from the same executor and at a random moment.
template <class Start>
class traffic : public std::enable_shared_from_this<traffic<Start>> {
public:
    traffic(asio::any_io_executor ex, std::uint32_t seed, std::size_t total, Start start)
        : ex_(std::move(ex)),
          random_(seed),
          total_(total),
          start_(std::move(start))
    {
    }

    void next()
    {
        if (position_ == total_)
            return;
        start_(*this, random_, std::min(random_.up_to(9000) + 1, total_ - position_));
        if (random_.one_in(3))
            cancel_after(random_.up_to(3));
    }

    auto handler()
    {
        return asio::bind_cancellation_slot(
            signal_.slot(), [self = this->shared_from_this()](error_code ec, std::size_t n) {
                self->completed(ec, n);
            });
    }

    [[nodiscard]] std::size_t position() const noexcept { return position_; }
    [[nodiscard]] std::size_t cancelled() const noexcept { return cancelled_; }
    std::string block;

private:
    void completed(error_code ec, std::size_t n)
    {
        if (ec == asio::error::operation_aborted) {
            CHECK(n == 0);
            ++cancelled_;
        } else {
            REQUIRE_FALSE(ec);
            moved(n);
        }
        next();
    }
    void moved(std::size_t n)
    {
        bool right = true;
        for (std::size_t i = 0; i < n; ++i)
            right = right && block[i] == expected(position_ + i);
        CHECK(right);
        position_ += n;
    }
    void cancel_after(std::size_t turns)
    {
        asio::post(ex_, [self = this->shared_from_this(), turns] {
            if (turns == 0)
                self->signal_.emit(asio::cancellation_type::total);
            else
                self->cancel_after(turns - 1);
        });
    }

    asio::any_io_executor ex_;
    random_source random_;
    std::size_t total_;
    Start start_;
    asio::cancellation_signal signal_;
    std::size_t position_ = 0;
    std::size_t cancelled_ = 0;
};

template <class Start>
auto make_traffic(asio::any_io_executor ex, std::uint32_t seed, std::size_t total, Start start)
{
    return std::make_shared<traffic<Start>>(std::move(ex), seed, total, std::move(start));
}

auto reads(procyard::pipe_reader& reader)
{
    return [&reader](auto& self, random_source& random, std::size_t n) {
        self.block.assign(n, '\0');
        reader.async_read_some(split(asio::mutable_buffer(self.block.data(), n), random),
                               self.handler());
    };
}

auto writes(procyard::pipe_writer& writer)
{
    return [&writer](auto& self, random_source& random, std::size_t n) {
        self.block.resize(n);
        for (std::size_t i = 0; i < n; ++i)
            self.block[i] = expected(self.position() + i);
        writer.async_write_some(split(asio::const_buffer(self.block.data(), n), random),
                                self.handler());
    };
}

}  // namespace

TEST_SUITE("pipe round trip")
{
    TEST_CASE("every byte arrives once and in order, whatever is cancelled")
    {
        std::size_t cancelled = 0;
        for (std::uint32_t seed = 1; seed <= 20; ++seed) {
            CAPTURE(seed);
            asio::io_context ctx;
            auto [reader, writer] = make_pipe(ctx.get_executor(), {.capacity_bytes = 4096});
            constexpr std::size_t total = 300'000;
            auto in = make_traffic(ctx.get_executor(), seed, total, reads(reader));
            auto out = make_traffic(ctx.get_executor(), seed + 1000, total, writes(writer));
            in->next();
            out->next();
            run(ctx);
            CHECK(in->position() == total);
            CHECK(out->position() == total);
            cancelled += in->cancelled() + out->cancelled();
        }
        CHECK(cancelled > 100);  // else the test does not test what it says
    }

    TEST_CASE("many pipes on several threads, each with a strand of its own")
    {
        asio::io_context ctx;
        constexpr std::size_t total = 100'000;
        std::vector<procyard::pipe_pair> pipes;
        pipes.reserve(8);
        std::vector<std::function<std::size_t()>> positions;
        for (std::uint32_t i = 0; i < 8; ++i) {
            const asio::any_io_executor ex = asio::make_strand(ctx);
            auto& [reader, writer] = pipes.emplace_back(make_pipe(ex, {.capacity_bytes = 4096}));
            auto in = make_traffic(ex, i, total, reads(reader));
            auto out = make_traffic(ex, i + 100, total, writes(writer));
            positions.push_back([in] { return in->position(); });
            positions.push_back([out] { return out->position(); });
            asio::post(ex, [in] { in->next(); });
            asio::post(ex, [out] { out->next(); });
        }
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i)
            threads.emplace_back([&ctx] { ctx.run_for(procyard_test::deadlock_guard); });
        for (auto& thread : threads)
            thread.join();
        for (const auto& position : positions)
            CHECK(position() == total);
    }

    // The object lives on one thread's executor, its handlers run on another's: then turns and
    // calls of the same stream meet on different threads.
    TEST_CASE("a stream whose handlers run elsewhere may be closed from there")
    {
        for (int round = 0; round < 50; ++round) {
            asio::io_context io;
            asio::io_context user;
            auto [reader, writer] = make_pipe(io.get_executor());
            auto work = asio::make_work_guard(io);
            std::thread io_thread([&io] { io.run_for(procyard_test::deadlock_guard); });
            int completed = 0;
            char byte = 0;
            // With which error is a race: the other end's closing may come first.
            const auto count = [&](error_code, auto&&...) { ++completed; };
            const auto there = [&](auto handler) {
                return asio::bind_executor(user.get_executor(), std::move(handler));
            };
            reader.async_read_some(asio::buffer(&byte, 1), there(count));
            reader.async_wait_readable(there(count));
            writer.async_wait_closed(there(count));
            if (round % 2 == 0)
                reader.cancel();
            reader.close();
            writer.close();
            run(user);
            CHECK(completed == 3);
            work.reset();
            io_thread.join();
        }
    }

    // As a coroutine does that has the stream as a local variable.
    TEST_CASE("a handler that owns its stream may be dropped by the context, with other operations")
    {
        for (const bool waiting : {false, true}) {
            asio::io_context ctx;
            auto [reader, writer] = make_pipe(ctx.get_executor());
            const auto owned = std::make_shared<procyard::pipe_reader>(std::move(reader));
            for (int i = 0; i < 3; ++i)
                owned->async_wait_readable([owned](error_code) { FAIL("must not run"); });
            if (waiting)
                ctx.poll();
        }
    }
}

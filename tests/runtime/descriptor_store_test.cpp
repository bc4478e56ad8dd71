// SPDX-License-Identifier: BSL-1.0
#include "descriptor_store.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/ipc/unique_fd.hpp>

#include "procyard_test.hpp"

using namespace procyard_test;
using procyard::unique_fd;
using procyard::detail::descriptor_store;

namespace {

unique_fd event()
{
    return unique_fd(::eventfd(0, EFD_CLOEXEC));
}

struct store {
    explicit store(std::size_t most = 8)
        : it(std::make_shared<descriptor_store>(ctx.get_executor(), most))
    {
    }
    void keep(std::string_view name, unique_fd one, bool until_hang_up = true)
    {
        REQUIRE(one);
        std::vector<unique_fd> some;
        some.push_back(std::move(one));
        it->keep(name, std::move(some), until_hang_up);
    }
    [[nodiscard]] std::string names() const
    {
        std::string text;
        for (const auto& one : it->all())
            text += (text.empty() ? "" : ":") + one.name;
        return text;
    }
    void turn()
    {
        for (int i = 0; i < 5; ++i) {
            ctx.restart();
            ctx.poll();
        }
    }

    descriptor_check descriptors{};
    boost::asio::io_context ctx{};
    std::shared_ptr<descriptor_store> it;
};

struct plain_pipe {
    plain_pipe()
    {
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        read.reset(ends[0]);
        write.reset(ends[1]);
    }
    unique_fd read{};
    unique_fd write{};
};

unique_fd copy_of(const unique_fd& one)
{
    return unique_fd(::fcntl(one.get(), F_DUPFD_CLOEXEC, 0));
}

}  // namespace

TEST_SUITE("descriptor_store")
{
    TEST_CASE("several have one name, and are taken back together")
    {
        store f;
        for (const char* const name : {"x", "y", "x"})
            f.keep(name, event());
        CHECK(f.names() == "x:y:x");
        f.it->remove("x");
        CHECK(f.names() == "y");
        f.it->remove("nobody");
        CHECK(f.names() == "y");
        f.it->clear();
    }

    TEST_CASE("as many as may be, and the others are closed")
    {
        store f(1);
        f.keep("x", event());
        f.keep("y", event());
        CHECK(f.names() == "x");
        f.it->clear();
    }

    TEST_CASE("one open file is kept once, under its first name; the two ends of a pipe are two")
    {
        store f;
        plain_pipe pipe;
        f.keep("write", copy_of(pipe.write));
        f.keep("again", copy_of(pipe.write));
        f.keep("write", copy_of(pipe.write));
        f.keep("read", copy_of(pipe.read));
        const unique_fd one(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        f.keep("null", copy_of(one));
        f.keep("null", unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
        CHECK(f.names() == "write:read:null:null");
        f.it->clear();
    }

    TEST_CASE("one that hangs up is dropped, unless it is not to be polled, and no other")
    {
        store f;
        plain_pipe dropped;
        plain_pipe kept;
        f.keep("dropped", std::move(dropped.write));
        f.keep("kept", std::move(kept.write), false);
        f.keep("event", event());
        f.turn();
        CHECK(f.names() == "dropped:kept:event");
        dropped.read.reset();
        kept.read.reset();
        f.turn();
        CHECK(f.names() == "kept:event");
        // Bytes that can be read are no hang-up.
        plain_pipe busy;
        REQUIRE(::write(busy.write.get(), "x", 1) == 1);
        f.keep("busy", std::move(busy.read));
        f.turn();
        CHECK(f.names() == "kept:event:busy");
        busy.write.reset();
        f.turn();
        CHECK(f.names() == "kept:event");
        f.it->clear();
    }

    TEST_CASE("many that have hung up before they came are dropped in one turn")
    {
        store f(64);
        for (int i = 0; i < 40; ++i) {
            plain_pipe pipe;
            f.keep("gone", std::move(pipe.write));
        }
        f.turn();
        CHECK(f.names().empty());
        f.it->clear();
    }

    TEST_CASE("a file cannot be polled, and is kept")
    {
        store f;
        f.keep("file", unique_fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)));
        f.turn();
        CHECK(f.names() == "file");
        f.it->clear();
    }

    TEST_CASE("what was taken back is not watched, although the service has it still")
    {
        store f;
        plain_pipe pipe;
        f.keep("x", copy_of(pipe.write));
        f.it->remove("x");
        // Of the same number.
        f.keep("y", event());
        pipe.read.reset();
        f.turn();
        CHECK(f.names() == "y");
        f.it->clear();
    }

    TEST_CASE("the flags of what is kept stay as the service has them")
    {
        store f;
        plain_pipe pipe;
        f.keep("x", copy_of(pipe.write));
        f.turn();
        CHECK((::fcntl(pipe.write.get(), F_GETFL) & O_NONBLOCK) == 0);
        f.it->clear();
    }

    TEST_CASE("cleared or destroyed, it keeps no context running")
    {
        for (const bool cleared : {false, true}) {
            store f;
            f.keep("x", event());
            f.turn();
            if (cleared)
                f.it->clear();
            else
                f.it.reset();
            run(f.ctx);
        }
    }
}

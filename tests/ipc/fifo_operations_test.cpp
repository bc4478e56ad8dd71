// SPDX-License-Identifier: BSL-1.0
// The common contract of asynchronous operations, for async_open_fifo_reader and
// async_open_fifo_writer. They belong to no object, so there is none to be destroyed.
#include <procyard/ipc/fifo.hpp>

#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "operation_contract.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::unique_fd;

namespace {

struct opening {
    explicit opening(asio::io_context& ctx) : ex(ctx.get_executor())
    {
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    }

    void break_it() { path += "-none"; }
    error_code breakage() const { return procyard::make_errno(ENOENT); }
    void destroy() { }

    asio::any_io_executor ex;
    procyard_test::temporary_directory directory;
    std::string path = (directory.path() / "f").native();
    unique_fd other;
};

struct open_reader : opening {
    using opening::opening;
    template <class Token>
    void start(Token&& token)
    {
        procyard::async_open_fifo_reader(ex, path, std::forward<Token>(token));
    }
    void satisfy()  // reads itself, so that it can be written before anybody reads
    {
        other.reset(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
        REQUIRE(::write(other.get(), "x", 1) == 1);
    }
};

struct open_writer : opening {
    using opening::opening;
    template <class Token>
    void start(Token&& token)
    {
        procyard::async_open_fifo_writer(ex, path, std::forward<Token>(token));
    }
    void satisfy() { other.reset(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)); }
};

template <class Operation>
void check_contract()
{
    using type = asio::cancellation_type;
    procyard_test::check_success<Operation>();
    procyard_test::check_success_after_a_wait<Operation>();
    procyard_test::check_immediate_error<Operation>();
    for (const auto each : {type::terminal, type::partial, type::total}) {
        procyard_test::check_cancellation<Operation>(each, false);
        procyard_test::check_cancellation<Operation>(each, true);
    }
    procyard_test::check_other_executor<Operation>();
    procyard_test::check_context_destruction<Operation>(false);
    procyard_test::check_context_destruction<Operation>(true);
}

}  // namespace

TEST_SUITE("async_open_fifo_reader")
{
    TEST_CASE("keeps the contract of asynchronous operations")
    {
        const procyard_test::descriptor_check no_leak;
        check_contract<open_reader>();
    }
}

TEST_SUITE("async_open_fifo_writer")
{
    TEST_CASE("keeps the contract of asynchronous operations")
    {
        const procyard_test::descriptor_check no_leak;
        check_contract<open_writer>();
    }
}

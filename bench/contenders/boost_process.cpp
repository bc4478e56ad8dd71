// SPDX-License-Identifier: BSL-1.0
//
// Boost.Process v2, as its documentation uses it: one io_context, one handler per exit.

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/readable_pipe.hpp>
#include <boost/asio/writable_pipe.hpp>
#include <boost/asio/write.hpp>
#include <boost/optional.hpp>  // BOOST_PROCESS_USE_STD_FS of 1.81 forgets it
#include <boost/process/v2/process.hpp>
#include <boost/process/v2/stdio.hpp>
#include <boost/version.hpp>

#include "../support/allocations.hpp"
#include "../support/spawn_round.hpp"
#include "../support/stream_round.hpp"

namespace {

namespace asio = boost::asio;
namespace process_v2 = boost::process::v2;
using boost::system::error_code;

void expect_success(error_code ec, int exit_code)
{
    bench::require(!ec, "async_wait");
    bench::require(exit_code == 0 || exit_code == SIGKILL, "the child failed");
}

class boost_spawner final : public bench::spawner {
public:
    explicit boost_spawner(std::string program) : program_(std::move(program)) { }

    pid_t start() override
    {
        auto process =
            std::make_unique<process_v2::process>(context_, program_, std::vector<std::string>{});
        auto& waiting = *process;
        waiting.async_wait([this, process = std::move(process)](error_code ec, int exit_code) {
            expect_success(ec, exit_code);
            exits_seen_ = true;
            exited();
        });
        return waiting.id();
    }

    void run() override
    {
        context_.restart();
        context_.run();
    }

    void run_one() override
    {
        context_.restart();
        exits_seen_ = false;
        while (!exits_seen_)
            context_.run_one();
    }

private:
    std::string program_;
    asio::io_context context_{1};
    bool exits_seen_ = false;
};

void enlarge(int pipe, std::size_t bytes)
{
    if (bytes != 0)
        bench::require(::fcntl(pipe, F_SETPIPE_SZ, static_cast<int>(bytes)) != -1, "F_SETPIPE_SZ");
}

class reader {
public:
    explicit reader(const bench::round_options& options)
        : round_(options),
          buffer_(round_.read_bytes())
    {
    }

    void run()
    {
        round_.start();
        process_v2::process child(context_, round_.child(), round_.writer_arguments(),
                                  process_v2::process_stdio{{}, out_, {}});
        enlarge(out_.native_handle(), round_.pipe_bytes());
        child.async_wait(expect_success);
        read();
        context_.run();
        round_.print();
    }

private:
    void read()
    {
        out_.async_read_some(asio::buffer(buffer_), [this](error_code ec, std::size_t n) {
            round_.add(n);
            if (ec != asio::error::eof) {
                bench::require(!ec, "async_read_some");
                read();
            }
        });
    }

    bench::stream_round round_;
    std::vector<char> buffer_;
    asio::io_context context_{1};
    asio::readable_pipe out_{context_};
};

class copier {
public:
    explicit copier(const bench::round_options& options)
        : round_(options),
          buffer_(round_.read_bytes())
    {
    }

    void run()
    {
        round_.start();
        process_v2::process writer(context_, round_.child(), round_.writer_arguments(),
                                   process_v2::process_stdio{{}, out_, {}});
        process_v2::process sink(context_, round_.child(), round_.sink_arguments(),
                                 process_v2::process_stdio{in_, {}, {}});
        enlarge(out_.native_handle(), round_.pipe_bytes());
        enlarge(in_.native_handle(), round_.pipe_bytes());
        writer.async_wait(expect_success);
        sink.async_wait(expect_success);
        read();
        context_.run();
        round_.print();
    }

private:
    void read()
    {
        out_.async_read_some(asio::buffer(buffer_), [this](error_code ec, std::size_t n) {
            if (ec == asio::error::eof) {
                in_.close();
                return;
            }
            bench::require(!ec, "async_read_some");
            round_.add(n);
            asio::async_write(in_, asio::buffer(buffer_, n),
                              [this](error_code write_ec, std::size_t) {
                                  bench::require(!write_ec, "async_write");
                                  read();
                              });
        });
    }

    bench::stream_round round_;
    std::vector<char> buffer_;
    asio::io_context context_{1};
    asio::readable_pipe out_{context_};
    asio::writable_pipe in_{context_};
};

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    const auto make = [](const std::string& program) -> std::unique_ptr<bench::spawner> {
        return std::make_unique<boost_spawner>(program);
    };
    if (options.command() == "version")
        std::printf("Boost.Process v2 %d.%d\n", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000);
    else if (options.command() == "spawn")
        bench::measure_spawn(options, make);
    else if (options.command() == "children")
        bench::measure_children(options, make);
    else if (options.command() == "allocations")
        bench::measure_allocations(options, make);
    else if (options.command() == "stdout")
        reader(options).run();
    else if (options.command() == "copy")
        copier(options).run();
    else
        bench::require(false, "bench_boost_process spawn | children | allocations | stdout | copy");
}

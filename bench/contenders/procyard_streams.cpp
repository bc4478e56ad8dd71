// SPDX-License-Identifier: BSL-1.0
#include "procyard.hpp"

#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/run.hpp>
#include <procyard/runtime/spawn.hpp>

namespace bench {
namespace {

namespace asio = boost::asio;
using procyard::error_code;

procyard::command writer(const stream_round& round)
{
    procyard::command command(round.child());
    command.args(round.writer_arguments());
    command.std_out(round.socket() ? procyard::stdio::socket()
                                   : procyard::stdio::pipe(round.pipe_bytes()));
    return command;
}

void wait_for(procyard::child child)
{
    auto wait_for_exit = child.async_wait();
    std::move(wait_for_exit)(
        [kept = std::move(child)](error_code ec, const procyard::exit_status& s) {
            require(!ec && s.success(), "the child failed");
        });
}

class stdout_reader {
public:
    explicit stdout_reader(const round_options& options)
        : round_(options),
          buffer_(round_.read_bytes())
    {
    }

    void run()
    {
        round_.start();
        auto child = procyard::spawn(writer(round_), context_.get_executor());
        out_ = std::move(child.std_out());
        wait_for(std::move(child));
        read();
        context_.run();
        round_.print();
    }

private:
    void read()
    {
        out_.async_read_some(asio::buffer(buffer_), [this](error_code ec, std::size_t n) {
            round_.add(n);
            if (ec == asio::error::eof)
                return;
            require(!ec, "async_read_some");
            read();
        });
    }

    stream_round round_;
    std::vector<char> buffer_;
    asio::io_context context_{1};
    procyard::pipe_reader out_{context_.get_executor()};
};

// The library reads: its own buffer, its own pipe.
void run_to_callback(const round_options& options)
{
    stream_round round(options);
    asio::io_context context{1};
    procyard::command command(round.child());
    command.args(round.writer_arguments());
    round.start();
    procyard::async_run(command, context.get_executor(),
                        procyard::run_options().std_out(procyard::run_output().to_callback(
                            [&round](std::string_view bytes) { round.add(bytes.size()); })),
                        [](error_code ec, const procyard::run_result& result) {
                            require(!ec && result.success(), "the run failed");
                        });
    context.run();
    round.print();
}

}  // namespace

void procyard_stdout(const round_options& options)
{
    if (options.text("style") == "async_run")
        run_to_callback(options);
    else
        stdout_reader(options).run();
}

}  // namespace bench

// SPDX-License-Identifier: BSL-1.0
#include "procyard.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <procyard/ipc/async_copy.hpp>
#include <procyard/ipc/line_reader.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/run.hpp>
#include <procyard/runtime/spawn.hpp>

namespace bench {
namespace {

namespace asio = boost::asio;
using procyard::error_code;

procyard::command writer(const stream_round& round, std::vector<std::string> arguments)
{
    procyard::command command(round.child());
    command.args(std::move(arguments));
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
        auto child =
            procyard::spawn(writer(round_, round_.writer_arguments()), context_.get_executor());
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

// The library moves the bytes from one child into another.
class copier {
public:
    explicit copier(const round_options& options) : round_(options) { }

    void run()
    {
        round_.start();
        auto left =
            procyard::spawn(writer(round_, round_.writer_arguments()), context_.get_executor());
        auto right = procyard::spawn(sink(), context_.get_executor());
        out_ = std::move(left.std_out());
        in_ = std::move(right.std_in());
        wait_for(std::move(left));
        wait_for(std::move(right));
        procyard::async_copy(out_, in_, [this](error_code ec, const procyard::copy_result& result) {
            require(!ec && result.end_of_source, "async_copy");
            require(result.mechanism == procyard::copy_mechanism::splice, "not by splice");
            round_.add(static_cast<std::size_t>(result.bytes));
            in_.close();
        });
        context_.run();
        round_.print();
    }

private:
    procyard::command sink() const
    {
        procyard::command command(round_.child());
        command.args(round_.sink_arguments());
        command.std_in(procyard::stdio::pipe(round_.pipe_bytes()));
        return command;
    }

    stream_round round_;
    asio::io_context context_{1};
    procyard::pipe_reader out_{context_.get_executor()};
    procyard::pipe_writer in_{context_.get_executor()};
};

// The lines of a child: as many as a read brought (`async_wait_line`, then `try_next_line`), or one
// at a time (`async_read_line`).
class line_counter {
public:
    explicit line_counter(const round_options& options)
        : round_(options),
          one_by_one_(options.text("style") == "async_read_line")
    {
    }

    void run()
    {
        round_.start();
        auto child = procyard::spawn(writer(round_, round_.line_writer_arguments()),
                                     context_.get_executor());
        procyard::line_options options;
        options.read_bytes = round_.read_bytes();
        reader_.emplace(std::move(child.std_out()), options);
        wait_for(std::move(child));
        one_by_one_ ? read_one() : wait();
        context_.run();
        round_.print();
    }

private:
    void wait()
    {
        reader_->async_wait_line([this](error_code ec) {
            require(!ec, "async_wait_line");
            while (const auto line = reader_->try_next_line(ec))
                round_.add(line->size() + 1);
            if (ec == asio::error::eof)
                return;
            require(ec == asio::error::would_block, "try_next_line");
            wait();
        });
    }

    void read_one()
    {
        reader_->async_read_line([this](error_code ec, const std::string& line) {
            if (ec == asio::error::eof)
                return;
            require(!ec, "async_read_line");
            round_.add(line.size() + 1);
            read_one();
        });
    }

    stream_round round_;
    bool one_by_one_;
    asio::io_context context_{1};
    std::optional<procyard::line_reader<procyard::pipe_reader>> reader_;
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

void procyard_copy(const round_options& options)
{
    copier(options).run();
}

void procyard_lines(const round_options& options)
{
    line_counter(options).run();
}

}  // namespace bench

// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/pipe.hpp>

#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <utility>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace {

raw_pipe open_pipe(int flags, pipe_options options, error_code& ec)
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | flags) == -1) {
        ec = last_error();
        return {};
    }
    raw_pipe pipe{unique_fd(ends[0]), unique_fd(ends[1])};
    ec.clear();
    if (options.capacity_bytes == 0)
        return pipe;
    set_pipe_capacity(pipe.write_end.get(), options.capacity_bytes, ec);
    if (options.capacity_is_a_wish)
        ec.clear();
    return ec ? raw_pipe{} : std::move(pipe);
}

std::size_t capacity_result(int n, error_code& ec) noexcept
{
    ec = n == -1 ? last_error() : error_code{};
    return n == -1 ? 0 : static_cast<std::size_t>(n);
}

}  // namespace

pipe_reader::pipe_reader(asio::any_io_executor ex)
    : stream_end(std::move(ex), detail::stream_direction::read)
{
}

pipe_reader::pipe_reader(asio::any_io_executor ex, unique_fd fd) : pipe_reader(std::move(ex))
{
    assign(std::move(fd));
}

pipe_writer::pipe_writer(asio::any_io_executor ex)
    : stream_end(std::move(ex), detail::stream_direction::write)
{
}

pipe_writer::pipe_writer(asio::any_io_executor ex, unique_fd fd) : pipe_writer(std::move(ex))
{
    assign(std::move(fd));
}

pipe_pair make_pipe(const asio::any_io_executor& ex, pipe_options options, error_code& ec)
{
    pipe_pair pair{pipe_reader(ex), pipe_writer(ex)};
    raw_pipe pipe = open_pipe(O_NONBLOCK, options, ec);
    if (!ec)
        pair.reader.assign(std::move(pipe.read_end), ec);
    if (!ec)
        pair.writer.assign(std::move(pipe.write_end), ec);
    return pair;
}

pipe_pair make_pipe(const asio::any_io_executor& ex, pipe_options options)
{
    error_code ec;
    auto pair = make_pipe(ex, options, ec);
    if (ec)
        throw boost::system::system_error(ec, "make_pipe");
    return pair;
}

raw_pipe make_raw_pipe(error_code& ec, pipe_options options)
{
    return open_pipe(0, options, ec);
}

std::size_t pipe_capacity(int fd, error_code& ec) noexcept
{
    return capacity_result(::fcntl(fd, F_GETPIPE_SZ), ec);
}

std::size_t set_pipe_capacity(int fd, std::size_t capacity_bytes, error_code& ec) noexcept
{
    // The kernel takes an unsigned int and answers with an int.
    const auto wanted = std::min<std::size_t>(capacity_bytes, INT_MAX);
    return capacity_result(::fcntl(fd, F_SETPIPE_SZ, static_cast<int>(wanted)), ec);
}

PROCYARD_NAMESPACE_END

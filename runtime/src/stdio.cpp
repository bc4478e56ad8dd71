// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/stdio.hpp>

#include <procyard/ipc/pipe.hpp>

PROCYARD_NAMESPACE_BEGIN

stdio stdio::inherit() noexcept
{
    return stdio(kind::inherit);
}
stdio stdio::null() noexcept
{
    return stdio(kind::null);
}
stdio stdio::socket() noexcept
{
    return stdio(kind::socket);
}
stdio stdio::to_stdout() noexcept
{
    return stdio(kind::to_stdout);
}
stdio stdio::to_stderr() noexcept
{
    return stdio(kind::to_stderr);
}

stdio stdio::pipe(std::size_t capacity_bytes) noexcept
{
    stdio s(kind::pipe);
    s.capacity_bytes_ = capacity_bytes;
    return s;
}

stdio stdio::read_file(std::filesystem::path path)
{
    stdio s(kind::read_file);
    s.path_ = std::move(path);
    return s;
}

stdio stdio::write_file(std::filesystem::path path, mode_t mode)
{
    stdio s(kind::write_file);
    s.path_ = std::move(path);
    s.mode_ = mode;
    return s;
}

stdio stdio::append_file(std::filesystem::path path, mode_t mode)
{
    stdio s(kind::append_file);
    s.path_ = std::move(path);
    s.mode_ = mode;
    return s;
}

stdio stdio::descriptor(unique_fd fd)
{
    stdio s(kind::owned);
    s.owned_ = std::make_shared<const unique_fd>(std::move(fd));
    return s;
}

stdio stdio::descriptor(pipe_reader&& end)
{
    return descriptor(end.release());
}
stdio stdio::descriptor(pipe_writer&& end)
{
    return descriptor(end.release());
}

stdio stdio::borrow(int fd) noexcept
{
    stdio s(kind::borrowed);
    s.number_ = fd;
    return s;
}

stdio stdio::terminal(window_size size) noexcept
{
    stdio s(kind::terminal);
    s.window_ = size;
    return s;
}

PROCYARD_NAMESPACE_END

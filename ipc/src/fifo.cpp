// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/fifo.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <mutex>

#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/stream_error.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "named_file.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

bool has_nul(std::string_view path) noexcept
{
    return path.find('\0') != path.npos;
}

// `access` is one of O_RDONLY, O_WRONLY, O_RDWR. Never waits.
unique_fd open_fifo(const std::string& path, int access, error_code& ec) noexcept
{
    struct stat status;
    if (has_nul(path))
        ec = make_errno(EINVAL);
    else if (::stat(path.c_str(), &status) == -1)
        ec = last_error();
    else
        ec = S_ISFIFO(status.st_mode) ? error_code{} : stream_errc::not_a_fifo;
    if (ec)
        return {};
    unique_fd fd(retry_eintr(
        [&] { return ::open(path.c_str(), access | O_NONBLOCK | O_CLOEXEC | O_NOCTTY); }));
    if (!fd || ::fstat(fd.get(), &status) == -1)
        ec = last_error();
    else if (!S_ISFIFO(status.st_mode))  // it is another file by now
        ec = stream_errc::not_a_fifo;
    return ec ? unique_fd() : std::move(fd);
}

// A FIFO of ours that is there already.
unique_fd adopt_fifo(const std::string& path, error_code& ec) noexcept
{
    auto held = detail::hold_file(path, ec);
    if (ec)
        return {};
    struct stat status;
    if (::fstat(held.get(), &status) == -1)
        ec = last_error();
    else if (!S_ISFIFO(status.st_mode))
        ec = make_errno(EEXIST);
    else if (status.st_uid != ::geteuid())
        ec = make_errno(EACCES);
    return ec ? unique_fd() : std::move(held);
}

template <class Stream>
Stream open_stream(const asio::any_io_executor& ex, std::string_view path, int access,
                   error_code& ec)
{
    Stream stream(ex);
    auto fd = open_fifo(std::string(path), access, ec);
    if (!ec)
        stream.assign(std::move(fd), ec);
    return stream;
}

}  // namespace

owned_name make_fifo(std::string_view path, fifo_options options, error_code& ec)
{
    if (has_nul(path)) {
        ec = make_errno(EINVAL);
        return {};
    }
    auto where = detail::absolute_path(path, ec);
    if (ec)
        return {};
    // Less the umask, so it may be too few and never too many.
    const bool made = ::mkfifo(where.c_str(), options.permissions) == 0;
    ec = made ? error_code{} : last_error();
    unique_fd held;
    if (made)
        held = detail::hold_file(where, ec);
    else if (ec == make_errno(EEXIST) && options.existing == existing_fifo::adopt)
        held = adopt_fifo(where, ec);
    if (made && !held)
        (void)::unlink(where.c_str());
    if (!ec)
        ec = detail::set_permissions(held.get(), options.permissions);
    if (!held)
        return {};
    auto name = owned_name_access::make(std::move(where), std::move(held));
    if (ec && !made)
        name.keep();
    return ec ? owned_name() : std::move(name);
}

owned_name make_fifo(std::string_view path, fifo_options options)
{
    error_code ec;
    auto made = make_fifo(path, options, ec);
    detail::throw_if_named(ec, "make_fifo", path);
    return made;
}

pipe_reader open_fifo_reader(const asio::any_io_executor& ex, std::string_view path, error_code& ec)
{
    return open_stream<pipe_reader>(ex, path, O_RDWR, ec);
}

pipe_reader open_fifo_reader(const asio::any_io_executor& ex, std::string_view path)
{
    error_code ec;
    auto reader = open_fifo_reader(ex, path, ec);
    detail::throw_if_named(ec, "open_fifo_reader", path);
    return reader;
}

pipe_writer open_fifo_writer(const asio::any_io_executor& ex, std::string_view path, error_code& ec)
{
    return open_stream<pipe_writer>(ex, path, O_WRONLY, ec);
}

pipe_writer open_fifo_writer(const asio::any_io_executor& ex, std::string_view path)
{
    error_code ec;
    auto writer = open_fifo_writer(ex, path, ec);
    detail::throw_if_named(ec, "open_fifo_writer", path);
    return writer;
}

namespace detail {

namespace {

// Opens, then waits for something to be read. Until a first writer has come, poll(2) and epoll(7)
// report neither data nor the end; read(2) tells the end all the while.
//
// Runs on the I/O executor; the mutex is for a cancellation, which may come from elsewhere.
class reader_opening : public std::enable_shared_from_this<reader_opening> {
public:
    reader_opening(const asio::any_io_executor& ex, std::string path, fifo_reader_handler handler)
        : reader_(ex),
          path_(std::move(path)),
          handler_(ex, std::move(handler))
    {
    }

    void start()
    {
        auto slot = handler_.get_cancellation_slot();
        if (slot.is_connected())
            slot.assign([self = weak_from_this()](asio::cancellation_type type) {
                const auto alive = self.lock();
                if (alive && type != asio::cancellation_type::none)
                    alive->cancel();
            });
        asio::post(reader_.get_executor(), [self = shared_from_this()] { self->open(); });
    }

private:
    void open()
    {
        std::unique_lock lock(mutex_);
        error_code ec;
        if (aborted_)
            ec = asio::error::operation_aborted;
        else
            reader_ = open_stream<pipe_reader>(reader_.get_executor(), path_, O_RDONLY, ec);
        if (!ec)
            return reader_.async_wait_readable(asio::bind_cancellation_slot(
                wake_.slot(),
                [self = shared_from_this()](error_code result) { self->woken(result); }));
        lock.unlock();
        handler_.complete_now(ec, std::move(reader_));
    }

    void woken(error_code ec)
    {
        {
            const std::lock_guard lock(mutex_);
            if (aborted_)
                ec = asio::error::operation_aborted;
        }
        if (ec)
            reader_.close();
        handler_.complete_now(ec, std::move(reader_));
    }

    void cancel() noexcept
    {
        const std::lock_guard lock(mutex_);
        aborted_ = true;
        wake_.emit(asio::cancellation_type::terminal);
    }

    pipe_reader reader_;
    const std::string path_;
    pending<void(error_code, pipe_reader)> handler_;
    std::mutex mutex_;
    bool aborted_ = false;
    asio::cancellation_signal wake_;
};

// Tries to open until there is a reader. The first time too in a turn of its own.
//
// Runs on the I/O executor; the mutex is for a cancellation, which may come from elsewhere.
class writer_opening : public std::enable_shared_from_this<writer_opening> {
public:
    writer_opening(const asio::any_io_executor& ex, std::string path, fifo_writer_handler handler)
        : timer_(ex),
          path_(std::move(path)),
          handler_(ex, std::move(handler))
    {
    }

    void start()
    {
        auto slot = handler_.get_cancellation_slot();
        if (slot.is_connected())
            slot.assign([self = weak_from_this()](asio::cancellation_type type) {
                const auto alive = self.lock();
                if (alive && type != asio::cancellation_type::none)
                    alive->cancel();
            });
        const std::lock_guard lock(mutex_);
        wait(duration::zero());
    }

private:
    using duration = std::chrono::milliseconds;
    static constexpr duration shortest{1};
    static constexpr duration longest{32};

    void wait(duration time)
    {
        timer_.expires_after(time);
        timer_.async_wait([self = shared_from_this()](const error_code&) { self->turn(); });
    }

    void turn()
    {
        std::unique_lock lock(mutex_);
        error_code ec;
        pipe_writer writer(timer_.get_executor());
        if (aborted_)
            ec = asio::error::operation_aborted;
        else
            writer = open_stream<pipe_writer>(timer_.get_executor(), path_, O_WRONLY, ec);
        if (ec == make_errno(ENXIO)) {
            wait(pause_);
            pause_ = std::min(2 * pause_, longest);
            return;
        }
        lock.unlock();
        handler_.complete_now(ec, std::move(writer));
    }

    void cancel() noexcept
    {
        const std::lock_guard lock(mutex_);
        aborted_ = true;
        timer_.cancel();
    }

    asio::steady_timer timer_;
    const std::string path_;
    pending<void(error_code, pipe_writer)> handler_;
    std::mutex mutex_;
    bool aborted_ = false;
    duration pause_ = shortest;
};

// Found again whatever the working directory is then.
std::string path_for_later(std::string_view path)
{
    error_code no_directory;
    auto found = absolute_path(path, no_directory);
    return no_directory ? std::string(path) : found;
}

}  // namespace

void start_open_fifo_reader(const asio::any_io_executor& ex, std::string_view path,
                            fifo_reader_handler handler)
{
    std::make_shared<reader_opening>(ex, path_for_later(path), std::move(handler))->start();
}

void start_open_fifo_writer(const asio::any_io_executor& ex, std::string_view path,
                            fifo_writer_handler handler)
{
    std::make_shared<writer_opening>(ex, path_for_later(path), std::move(handler))->start();
}

}  // namespace detail

PROCYARD_NAMESPACE_END

// SPDX-License-Identifier: BSL-1.0
#include "output_sink.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <string>
#include <utility>

#include <procyard/ipc/line_buffer.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

error_code to_error_code(const std::exception_ptr& exception) noexcept
{
    try {
        std::rethrow_exception(exception);
    } catch (const boost::system::system_error& error) {
        return error.code();
    } catch (const std::bad_alloc&) {
        return make_error_code(boost::system::errc::not_enough_memory);
    } catch (...) {
        return make_run_error(run_errc::threw);
    }
}

void output_sink::fail_with_current_exception(std::string name)
{
    const auto exception = std::current_exception();
    fail(std::move(name), to_error_code(exception), exception);
}

namespace {

class memory final : public output_sink {
public:
    memory(capture_options options, const sink_context& context)
        : options_(options),
          result_(*context.result),
          limit_hit_(*context.limit_hit)
    {
    }

    bool write(std::string_view bytes, std::shared_ptr<sink_waiter>) override
    {
        const auto room = options_.limit_bytes - result_.data.size();
        try {
            result_.data.append(bytes.substr(0, room));
        } catch (...) {
            fail_with_current_exception("capture");
        }
        if (bytes.size() > room) {
            result_.truncated = true;
            limit_hit_ = options_.on_limit == limit_policy::stop;
        }
        return true;
    }

private:
    capture_options options_;
    stream_result& result_;
    bool& limit_hit_;
};

unique_fd open_file(const file_sink& what, error_code& ec)
{
    const int how = what.options.append ? O_APPEND : O_TRUNC;
    // O_NONBLOCK: a FIFO without a reader must not hold the event loop; regular files do not care.
    unique_fd fd(retry_eintr([&] {
        return ::open(what.path.c_str(),
                      O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | how,
                      what.options.mode);
    }));
    ec = fd ? error_code() : last_error();
    return fd;
}

bool is_regular_file(int fd) noexcept
{
    struct stat status;
    return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

class file final : public output_sink {
public:
    file(std::string name, unique_fd fd, const error_code& opened)
        : name_(std::move(name)),
          fd_(std::move(fd))
    {
        if (opened)
            fail(name_, opened);
    }

    bool write(std::string_view bytes, std::shared_ptr<sink_waiter>) override
    {
        while (!bytes.empty()) {
            const auto n =
                retry_eintr([&] { return ::write(fd_.get(), bytes.data(), bytes.size()); });
            if (n == -1) {
                fail(name_, last_error());
                break;
            }
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }

    void finish() override
    {
        // Not reset(): a network file system reports a failed write here and nowhere else.
        if (fd_ && ::close(fd_.release()) == -1)
            fail(name_, last_error());
    }

private:
    std::string name_;
    unique_fd fd_;
};

class callback final : public output_sink {
public:
    explicit callback(const callback_sink& what) : function_(what.function) { }

    bool write(std::string_view bytes, std::shared_ptr<sink_waiter>) override
    {
        try {
            function_(bytes);
        } catch (...) {
            fail_with_current_exception("callback");
        }
        return true;
    }

private:
    std::function<void(std::string_view)> function_;
};

class lines final : public output_sink {
public:
    lines(const line_sink& what, stream_result& result)
        : function_(what.function),
          buffer_(what.options),
          result_(result)
    {
    }

    bool write(std::string_view bytes, std::shared_ptr<sink_waiter>) override
    {
        try {
            buffer_.append(bytes);
            hand_out();
        } catch (...) {
            fail_with_current_exception("lines");
        }
        return true;
    }

    void finish() override
    {
        if (failure())
            return;
        buffer_.finish();
        try {
            hand_out();
        } catch (...) {
            fail_with_current_exception("lines");
        }
    }

private:
    void hand_out()
    {
        for (std::string_view line;;) {
            switch (buffer_.next(line)) {
            case line_buffer::status::too_long:
                ++result_.long_lines;
                function_(line);
                break;
            case line_buffer::status::line: function_(line); break;
            case line_buffer::status::need_more:
            case line_buffer::status::end: return;
            }
        }
    }

    std::function<void(std::string_view)> function_;
    line_buffer buffer_;
    stream_result& result_;
};

// A sink that takes its time.
class waiting_sink : public output_sink {
public:
    explicit waiting_sink(asio::any_io_executor strand) : strand_(std::move(strand)) { }

    void abort() noexcept override
    {
        // Not later: what an operation leaves in a slot may point to what ended with it.
        if (busy_)
            signal_.emit(asio::cancellation_type::terminal);
    }

protected:
    // The handler of one write, which then is under way.
    template <class Handler>
    auto begin(Handler handler)
    {
        busy_ = true;
        return asio::bind_cancellation_slot(signal_.slot(),
                                            asio::bind_executor(strand_, std::move(handler)));
    }
    void end(sink_waiter& waiter)
    {
        busy_ = false;
        waiter.sink_done();
    }

    asio::any_io_executor strand_;

private:
    asio::cancellation_signal signal_;
    bool busy_ = false;
};

class coroutine final : public waiting_sink {
public:
    coroutine(const coroutine_sink& what, asio::any_io_executor strand)
        : waiting_sink(std::move(strand)),
          function_(what.function)
    {
    }

    bool write(std::string_view bytes, std::shared_ptr<sink_waiter> waiter) override
    {
        try {
            asio::co_spawn(
                strand_, function_(bytes),
                begin([this, waiter = std::move(waiter)](const std::exception_ptr& thrown) {
                    if (thrown)
                        fail("coroutine", to_error_code(thrown), thrown);
                    end(*waiter);
                }));
        } catch (...) {
            fail_with_current_exception("coroutine");
            return true;
        }
        return false;
    }

private:
    std::function<asio::awaitable<void>(std::string_view)> function_;
};

class stream final : public waiting_sink {
public:
    stream(const stream_sink& what, asio::any_io_executor strand)
        : waiting_sink(std::move(strand)),
          stream_(what.stream)
    {
    }
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;
    // Of a run that did not begin, too: its reader would wait for ever.
    ~stream() override { stream_->close(); }

    bool write(std::string_view bytes, std::shared_ptr<sink_waiter> waiter) override
    {
        if (!stream_->is_open()) {
            fail("stream", asio::error::bad_descriptor);
            return true;
        }
        stream_->write(asio::buffer(bytes),
                       begin([this, waiter = std::move(waiter)](const error_code& ec, std::size_t) {
                           if (ec)
                               fail("stream", ec);
                           end(*waiter);
                       }));
        return false;
    }

    void finish() override { stream_->close(); }

private:
    std::shared_ptr<byte_consumer> stream_;
};

// What was opened as a file and is none: a FIFO, a terminal, a device. Its other side may be slow,
// so a write may have to wait; and may go, which must be an error and not a SIGPIPE.
class special_file final : public waiting_sink {
public:
    special_file(std::string name, unique_fd fd, asio::any_io_executor strand)
        : waiting_sink(std::move(strand)),
          name_(std::move(name)),
          writer_(strand_)
    {
        error_code ec;
        writer_.assign(std::move(fd), ec);
        if (ec)
            fail(name_, ec);
    }

    bool write(std::string_view bytes, std::shared_ptr<sink_waiter> waiter) override
    {
        asio::async_write(
            writer_, asio::buffer(bytes),
            begin([this, waiter = std::move(waiter)](const error_code& ec, std::size_t) {
                if (ec)
                    fail(name_, ec);
                end(*waiter);
            }));
        return false;
    }

    void finish() override { writer_.close(); }

private:
    std::string name_;
    pipe_writer writer_;
};

struct maker {
    const sink_context& context;

    std::unique_ptr<output_sink> operator()(const capture_sink& what) const
    {
        return std::make_unique<memory>(what.options, context);
    }
    std::unique_ptr<output_sink> operator()(const file_sink& what) const
    {
        auto name = "file \"" + what.path.string() + '"';
        error_code ec;
        auto fd = open_file(what, ec);
        if (!ec && !is_regular_file(fd.get()))
            return std::make_unique<special_file>(std::move(name), std::move(fd), context.strand);
        return std::make_unique<file>(std::move(name), std::move(fd), ec);
    }
    std::unique_ptr<output_sink> operator()(const callback_sink& what) const
    {
        return std::make_unique<callback>(what);
    }
    std::unique_ptr<output_sink> operator()(const line_sink& what) const
    {
        return std::make_unique<lines>(what, *context.result);
    }
    std::unique_ptr<output_sink> operator()(const coroutine_sink& what) const
    {
        return std::make_unique<coroutine>(what, context.strand);
    }
    std::unique_ptr<output_sink> operator()(const stream_sink& what) const
    {
        return std::make_unique<stream>(what, context.strand);
    }
};

}  // namespace

std::unique_ptr<output_sink> make_sink(const sink_description& what, const sink_context& context)
{
    return std::visit(maker{context}, what);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

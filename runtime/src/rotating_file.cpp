// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/rotating_file.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <boost/system/system_error.hpp>

#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>

#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

class rotating_file::state {
public:
    state(std::filesystem::path path, rotation how) : path_(std::move(path)), how_(std::move(how))
    {
        if (!how_.clock)
            how_.clock = steady_timer_clock();
        open();
        if (!file_) {
            throw boost::system::system_error(errno, boost::system::system_category(),
                                              "rotating_file: \"" + path_.string() + '"');
        }
    }

    void write(std::string_view line)
    {
        const auto bytes = line.size() + 1;
        const bool is_old = how_.most_age != std::chrono::nanoseconds::max()
            && how_.clock->now() - opened_ >= how_.most_age;
        if (file_ && size_ > 0 && (is_old || size_ + bytes > how_.most_bytes))
            rotate();
        if (!file_)
            open();
        char end = '\n';
        // One call, so that lines of several processes do not mix.
        const iovec parts[] = {{const_cast<char*>(line.data()), line.size()}, {&end, 1}};
        const auto written = file_ ? ::writev(file_.get(), parts, 2) : -1;
        if (written > 0)
            size_ += static_cast<std::uint64_t>(written);
        // Not the rest of it later: it is the disk that is full.
        if (written != static_cast<ssize_t>(bytes))
            ++lost_;
    }

    void rotate()
    {
        file_.reset();
        for (auto i = how_.keep; i > 1; --i)
            (void)std::rename(name(i - 1).c_str(), name(i).c_str());
        if (how_.keep > 0)
            (void)std::rename(path_.c_str(), name(1).c_str());
        else
            (void)::unlink(path_.c_str());
        open();
        // It could not be set aside: tried again after as much again, and not with each line.
        if (size_ > 0)
            size_ = 0;
    }

    [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }

private:
    [[nodiscard]] std::string name(unsigned number) const
    {
        return path_.string() + '.' + std::to_string(number);
    }

    // O_APPEND: another process may write it, too, or cut it short.
    void open()
    {
        file_.reset(
            ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, how_.mode));
        struct stat now{};
        size_ =
            file_ && ::fstat(file_.get(), &now) == 0 ? static_cast<std::uint64_t>(now.st_size) : 0;
        opened_ = how_.clock->now();
    }

    std::filesystem::path path_;
    rotation how_;
    unique_fd file_{};
    std::uint64_t size_ = 0;
    std::uint64_t lost_ = 0;
    timer_clock::time_point opened_{};
};

rotating_file::rotating_file(std::filesystem::path path, rotation how)
    : state_(std::make_shared<state>(std::move(path), std::move(how)))
{
}

void rotating_file::write(std::string_view line)
{
    state_->write(line);
}

void rotating_file::rotate()
{
    state_->rotate();
}

std::uint64_t rotating_file::lost() const noexcept
{
    return state_->lost();
}

PROCYARD_NAMESPACE_END

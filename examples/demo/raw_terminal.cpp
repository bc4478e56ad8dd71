// SPDX-License-Identifier: BSL-1.0
#include "raw_terminal.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <boost/system/system_error.hpp>

#include <cerrno>
#include <string>

namespace demo {

std::optional<procyard::window_size> window_size_of(int fd) noexcept
{
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) == -1 || size.ws_row == 0 || size.ws_col == 0)
        return std::nullopt;
    return procyard::window_size{.rows = size.ws_row, .columns = size.ws_col};
}

procyard::unique_fd open_again(int fd)
{
    procyard::unique_fd opened;
    if (::isatty(fd) == 1) {
        const auto path = "/proc/self/fd/" + std::to_string(fd);
        opened.reset(::open(path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    }
    // Not a terminal, or one that belongs to the user before `su`.
    if (!opened)
        opened.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!opened)
        throw boost::system::system_error(errno, boost::system::system_category(),
                                          "descriptor " + std::to_string(fd));
    return opened;
}

raw_terminal::raw_terminal(int fd) noexcept : fd_(fd)
{
    termios now;
    if (::tcgetattr(fd_, &now) == 0) {
        before_ = now;
        apply();
    }
}

void raw_terminal::apply() noexcept
{
    if (before_) {
        termios raw = *before_;
        ::cfmakeraw(&raw);
        (void)::tcsetattr(fd_, TCSADRAIN, &raw);
    }
}

void raw_terminal::restore() noexcept
{
    if (before_)
        (void)::tcsetattr(fd_, TCSADRAIN, &*before_);
}

}  // namespace demo

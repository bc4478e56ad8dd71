// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/activation.hpp>

#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include <procyard/ipc/syscall.hpp>

#include "manager_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

// Nothing is changed before all of them are known to be what the manager has opened. One that came
// by an exec cannot be close-on-exec; so those that are have been taken before, or their numbers
// are somebody else's by now. (A flag of the process that remembers a first call would not know of
// the second.)
void check_is_given(int fd)
{
    const int flags = ::fcntl(fd, F_GETFD);
    const auto refuse = [fd](const char* why, int error_number) {
        detail::refuse_variable(detail::listen_count_variable,
                                std::getenv(detail::listen_count_variable),
                                "descriptor " + std::to_string(fd) + ' ' + why, error_number);
    };
    if (flags == -1)
        refuse("is not open", EBADF);
    if ((flags & FD_CLOEXEC) != 0)
        refuse("is closed on exec, so it has been taken before", EALREADY);
}

int option_of(int fd, int option) noexcept
{
    int value = -1;
    socklen_t size = sizeof value;
    return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

std::string family_name(int family)
{
    switch (family) {
    case AF_UNIX: return "AF_UNIX";
    case AF_INET: return "AF_INET";
    case AF_INET6: return "AF_INET6";
    case AF_NETLINK: return "AF_NETLINK";
    case AF_VSOCK: return "AF_VSOCK";
    default: return "family " + std::to_string(family);
    }
}

std::string type_name(int type)
{
    switch (type) {
    case SOCK_STREAM: return "stream";
    case SOCK_DGRAM: return "datagram";
    case SOCK_SEQPACKET: return "seqpacket";
    case SOCK_RAW: return "raw";
    default: return "type " + std::to_string(type);
    }
}

std::string text_of(const detail::wanted_socket& what)
{
    std::string text = what.listens ? "a listening " : "a ";
    text += type_name(what.type) + " socket";
    if (what.is_internet)
        return text + " of AF_INET or AF_INET6";
    return what.family == 0 ? text : text + " of " + family_name(what.family);
}

std::string kind_of_file(int fd)
{
    struct stat about{};
    if (::fstat(fd, &about) != 0)
        return "nothing";
    switch (about.st_mode & S_IFMT) {
    case S_IFIFO: return "a pipe or FIFO";
    case S_IFREG: return "a file";
    case S_IFDIR: return "a directory";
    case S_IFCHR: return "a character device";
    case S_IFBLK: return "a block device";
    default: return "no socket";
    }
}

std::string text_of(const detail::descriptor_place& place)
{
    return "activation descriptor " + std::to_string(place.index) + " (\"" + std::string(place.name)
        + "\")";
}

}  // namespace

namespace detail {

void check_socket(const unique_fd& fd, const wanted_socket& wanted, const descriptor_place& place,
                  int& family)
{
    const auto refuse = [&](const std::string& found) {
        throw boost::system::system_error(make_errno(EPROTOTYPE),
                                          text_of(place) + " is " + found + ", and not "
                                              + text_of(wanted));
    };
    wanted_socket found;
    found.type = option_of(fd.get(), SO_TYPE);
    if (found.type == -1)
        refuse(kind_of_file(fd.get()));
    found.family = option_of(fd.get(), SO_DOMAIN);
    found.listens = option_of(fd.get(), SO_ACCEPTCONN) == 1;
    const bool of_family = wanted.is_internet ? found.family == AF_INET || found.family == AF_INET6
                                              : wanted.family == 0 || wanted.family == found.family;
    if (!of_family || wanted.type != found.type || wanted.listens != found.listens)
        refuse(text_of(found));
    family = found.family;
}

void throw_taken(const error_code& ec, const descriptor_place& place)
{
    throw boost::system::system_error(ec, text_of(place));
}

}  // namespace detail

activation_descriptors::activation_descriptors(manager_variables then)
{
    using namespace detail;
    struct remover {
        bool active;
        ~remover()
        {
            for (const char* name :
                 {listen_count_variable, listen_pid_variable, listen_names_variable}) {
                if (active)
                    ::unsetenv(name);
            }
        }
    };
    const remover at_the_end{then == manager_variables::remove};
    auto names =
        parse_activation(std::getenv(listen_count_variable), std::getenv(listen_pid_variable),
                         std::getenv(listen_names_variable), ::getpid());
    for (std::size_t i = 0; i < names.size(); ++i)
        check_is_given(first_activation_descriptor + static_cast<int>(i));
    all_.reserve(names.size());
    for (auto& name : names) {
        const int fd = first_activation_descriptor + static_cast<int>(all_.size());
        (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
        all_.push_back({std::move(name), unique_fd(fd)});
    }
}

bool activation_descriptors::contains(std::string_view name) const noexcept
{
    return std::any_of(all_.begin(), all_.end(),
                       [name](const entry& one) { return one.fd && one.name == name; });
}

std::size_t activation_descriptors::place(std::size_t index) const
{
    if (index >= all_.size() || !all_[index].fd)
        throw boost::system::system_error(make_errno(ENOENT),
                                          "activation descriptor " + std::to_string(index)
                                              + (index < all_.size() ? " has been taken" : ""));
    return index;
}

std::size_t activation_descriptors::place(std::string_view name) const
{
    const auto found = std::find_if(
        all_.begin(), all_.end(), [name](const entry& one) { return one.fd && one.name == name; });
    if (found == all_.end())
        throw boost::system::system_error(make_errno(ENOENT),
                                          "activation descriptor \"" + std::string(name) + '"');
    return static_cast<std::size_t>(found - all_.begin());
}

unique_fd activation_descriptors::take(std::size_t index)
{
    return std::move(all_[place(index)].fd);
}

unique_fd activation_descriptors::take(std::string_view name)
{
    return std::move(all_[place(name)].fd);
}

PROCYARD_NAMESPACE_END

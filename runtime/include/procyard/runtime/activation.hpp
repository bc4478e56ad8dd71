// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_ACTIVATION_HPP
#define PROCYARD_RUNTIME_ACTIVATION_HPP

#include <sys/socket.h>

#include <boost/asio/any_io_executor.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/service_manager.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a socket of Asio's wants to be made of. 0: any.
struct wanted_socket {
    int family = 0;
    bool is_internet = false;  // AF_INET or AF_INET6
    int type = 0;
    bool listens = false;
};

struct descriptor_place {
    std::size_t index = 0;
    std::string_view name{};
};

// Whether the descriptor is that; `family` is its own. Throws what it is, and what it is not.
PROCYARD_RUNTIME_EXPORT void check_socket(const unique_fd& fd, const wanted_socket& wanted,
                                          const descriptor_place& place, int& family);
[[noreturn]] PROCYARD_RUNTIME_EXPORT void throw_taken(const error_code& ec,
                                                      const descriptor_place& place);

template <class Object>
concept socket_object = requires { typename Object::protocol_type; };

template <class Object>
[[nodiscard]] wanted_socket wanted_for() noexcept
{
    using protocol = typename Object::protocol_type;
    wanted_socket wanted;
    wanted.listens = requires(Object& object) { object.listen(); };
    if constexpr (requires { protocol::v6(); }) {
        wanted.is_internet = true;
        wanted.type = protocol::v4().type();
    } else if constexpr (std::is_default_constructible_v<protocol>) {
        wanted.family = protocol().family();
        wanted.type = protocol().type();
    } else {  // a generic one: of any family
        wanted.type = protocol(AF_UNIX, 0).type();
    }
    return wanted;
}

template <class Protocol>
[[nodiscard]] Protocol protocol_of(int family)
{
    if constexpr (requires { Protocol::v6(); })
        return family == AF_INET6 ? Protocol::v6() : Protocol::v4();
    else if constexpr (std::is_default_constructible_v<Protocol>)
        return Protocol();
    else
        return Protocol(family, 0);
}

}  // namespace detail

/// The descriptors that whoever started this process has opened for it: socket activation, and what
/// it had stored with its manager (`service_notice::store`). What sd_listen_fds(3) does, without
/// its library.
///
/// Each is taken once; those that are left are closed with the object. Their close-on-exec flag is
/// set at once, so no child of this process inherits them.
///
/// A listener of two processes is one: also its O_NONBLOCK, which Asio sets.
/// @par Thread safety   Distinct objects: there must not be two. Shared objects: unsafe.
/// @par Example         @snippet examples/guide/serving.cpp taken
class PROCYARD_RUNTIME_EXPORT activation_descriptors {
public:
    /// None.
    activation_descriptors() = default;
    /// Those that the environment names (`LISTEN_FDS`, `LISTEN_FDNAMES`) for this process
    /// (`LISTEN_PID`); none if it names none, or another process. Call it early: nothing else may
    /// have taken or closed them.
    /// @par Errors          `invalid_argument`: a variable is malformed, or names and descriptors
    ///                      are not equal in number. EBADF: a descriptor is not open.
    ///                      `connection_already_in_progress`: one is closed on exec, so it did not
    ///                      come by an exec: they have been taken before. what() says which. All of
    ///                      them are as they were, then.
    /// @par Thread safety   As `service_manager::from_environment`.
    /// @throws boost::system::system_error
    explicit activation_descriptors(manager_variables then);

    /// How many there were.
    [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }
    [[nodiscard]] bool empty() const noexcept { return all_.empty(); }
    /// What the manager calls it; "unknown" if it says nothing. Several may have one name.
    /// @throws std::out_of_range
    [[nodiscard]] const std::string& name(std::size_t index) const { return all_.at(index).name; }
    /// Whether one of this name is there to be taken.
    [[nodiscard]] bool contains(std::string_view name) const noexcept;

    // To take one, by its place or as the first of its name that is there.

    /// @throws boost::system::system_error   `no_such_file_or_directory`: there is none of this
    ///                                       name or place, or no more
    [[nodiscard]] unique_fd take(std::size_t index);
    /// The same.
    [[nodiscard]] unique_fd take(std::string_view name);

    /// As a socket or acceptor of Asio's, of any protocol, or as whatever else is made of an
    /// executor and a descriptor, as `asio::posix::stream_descriptor`.
    ///
    /// A socket is looked at: it must be of the family and type of the protocol, and listen if an
    /// acceptor is wanted, else not.
    /// @throws boost::system::system_error   as above. `wrong_protocol_type`: what() says what it
    ///                                       is and what was wanted, and it is still there.
    template <class Object>
    [[nodiscard]] Object take(std::size_t index, const typename Object::executor_type& ex)
    {
        return make<Object>(place(index), ex);
    }
    /// The same.
    template <class Object>
    [[nodiscard]] Object take(std::string_view name, const typename Object::executor_type& ex)
    {
        return make<Object>(place(name), ex);
    }

private:
    struct entry {
        std::string name{};
        unique_fd fd{};
    };

    [[nodiscard]] std::size_t place(std::size_t index) const;
    [[nodiscard]] std::size_t place(std::string_view name) const;

    template <class Object>
    [[nodiscard]] Object make(std::size_t index, const typename Object::executor_type& ex)
    {
        auto& one = all_[index];
        const detail::descriptor_place where{index, one.name};
        Object object(ex);
        error_code ec;
        if constexpr (detail::socket_object<Object>) {
            int family = 0;
            detail::check_socket(one.fd, detail::wanted_for<Object>(), where, family);
            using protocol = typename Object::protocol_type;
            object.assign(detail::protocol_of<protocol>(family), one.fd.get(), ec);
        } else if constexpr (requires { object.assign(std::move(one.fd), ec); }) {
            object.assign(std::move(one.fd), ec);  // pipe_reader, pipe_writer
        } else {
            object.assign(one.fd.get(), ec);
        }
        if (ec)
            detail::throw_taken(ec, where);
        (void)one.fd.release();
        return object;
    }

    std::vector<entry> all_{};
};

PROCYARD_NAMESPACE_END

#endif

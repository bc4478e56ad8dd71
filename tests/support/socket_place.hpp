// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_SOCKET_PLACE_HPP
#define PROCYARD_TESTS_SUPPORT_SOCKET_PLACE_HPP

#include <boost/asio/io_context.hpp>

#include <filesystem>
#include <string>

#include <procyard/ipc/unix_listener.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "temporary_directory.hpp"

namespace procyard_test {

/// A directory with the name of a socket in it.
struct socket_place {
    temporary_directory directory;
    std::string path = (directory.path() / "s").native();

    [[nodiscard]] bool exists() const
    {
        return std::filesystem::exists(std::filesystem::symlink_status(path));
    }
    template <class Protocol = procyard::unix_stream>
    [[nodiscard]] procyard::error_code connect(boost::asio::io_context& ctx) const
    {
        procyard::error_code ec;
        typename Protocol::socket socket(ctx);
        socket.connect(procyard::unix_path_endpoint<Protocol>(path), ec);
        return ec;
    }
    /// What a dead owner leaves.
    template <class Protocol = procyard::unix_stream>
    void leave_socket() const
    {
        boost::asio::io_context ctx;
        const typename Protocol::socket socket(ctx, procyard::unix_path_endpoint<Protocol>(path));
    }
    [[nodiscard]] procyard::error_code listen(procyard::unix_listener<>& listener) const
    {
        procyard::error_code ec;
        listener.listen(path, {}, ec);
        return ec;
    }
};

}  // namespace procyard_test

#endif

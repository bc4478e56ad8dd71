// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_PROBES_HPP
#define PROCYARD_RUNTIME_PROBES_HPP

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/service.hpp>

// Ready-made probes, for `readiness::probe` and `service::health`; next to it: channel_probe.hpp.
//
// Each asks anew whenever it is called, from the executor of whoever awaits it, and answers with
// false while the service does not answer as it should, whatever the reason: nobody listens yet,
// there is no descriptor left, it was cancelled. None has a time of its own: whoever asks gives it
// one (`most`), and cancels a question that takes longer. A question that is cancelled ends at
// once, but for a command's, which ends when the command and all it has started have gone.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// False instead of an error of the system: one that was cancelled, say.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT asio::awaitable<bool>
or_false(asio::awaitable<bool> question);

}  // namespace detail

/// Whether somebody takes connections on a port of the loopback, 127.0.0.1 or else ::1.
///
/// The connection is closed at once. It says no more than that somebody listens: the kernel takes
/// the connection for a program, also for one that is stuck, until its queue is full. So this is
/// for `readiness::probe`; for `service::health` ask by HTTP, by a command, or use a watchdog.
/// @par Thread safety   The result may be called from any thread, and while it runs.
/// @par Cost            A socket for each question.
/// @par Example         @snippet examples/guide/supervising.cpp probes
[[nodiscard]] PROCYARD_RUNTIME_EXPORT service_probe tcp_probe(std::uint16_t port);
/// The same, wherever it is.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT service_probe tcp_probe(const asio::ip::tcp::endpoint& where);
/// The same, of a Unix stream socket at a path. One whose queue is full takes none.
/// @throws boost::system::system_error   `socket_errc::name_too_long`, `bad_name`
[[nodiscard]] PROCYARD_RUNTIME_EXPORT service_probe unix_probe(std::string_view path);

/// How a probe asks by HTTP, and what is a good answer.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct http_probe_options {
    /// The one status that is good. Empty: any from 200 to 299. A redirection is not followed.
    std::optional<unsigned> status{};
    /// Further fields of the request, as names and values.
    std::vector<std::pair<std::string, std::string>> headers{};
    /// The path of the Unix socket to connect to; the host of the URL is no more than a name then.
    std::string unix_socket{};
};

/// Whether a `GET` over HTTP/1.1 is answered well: `http_probe("http://localhost:8080/health")`.
///
/// The URL is `http://HOST[:PORT][/TARGET]`. HOST is an address, `[::1]` for instance, or
/// `localhost`, which is 127.0.0.1 or else ::1. Another name is refused: looking it up can neither
/// be bounded nor cancelled; who has to, looks it up before. Without TLS.
///
/// The whole answer is read, but no more than 64 KiB of its body, so that the server finds no
/// broken connection; one that breaks off before is not good.
/// @throws std::invalid_argument   a URL or a field that is none: says which and why
/// @throws boost::system::system_error   `unix_socket` cannot be a path of a socket
/// @par Thread safety   As tcp_probe.
/// @par Cost            A connection for each question.
/// @par Example         @snippet examples/guide/supervising.cpp probes
[[nodiscard]] PROCYARD_RUNTIME_EXPORT service_probe
http_probe(std::string_view url, const http_probe_options& options = {});

/// Whether a command ends with success, that is by exit(0).
///
/// A question that is cancelled kills the command. However it ends, what it has started goes with
/// it, by a tree as that of a `service`; and it dies with the process that asks. Streams that the
/// command leaves as they are, or makes pipes of ours, are /dev/null: nobody reads them. It does
/// not inherit what our own supervisor has given us (NOTIFY_SOCKET and the like). Spawned on the
/// context's spawner thread.
/// @par Process-wide effects   As those of a `service` that is a command.
/// @par Thread safety   As tcp_probe.
/// @par Cost            A process for each question: leave time between them.
/// @par Example         @snippet examples/guide/supervising.cpp probes
[[nodiscard]] PROCYARD_RUNTIME_EXPORT service_probe command_probe(command what);

PROCYARD_NAMESPACE_END

#endif

// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_SUPERVISE_RUNNER_HPP
#define PROCYARD_EXAMPLES_SUPERVISE_RUNNER_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_socket.hpp>
#include <procyard/runtime/guardian.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "config.hpp"
#include "line_ring.hpp"

namespace supervise {

// The services of a configuration under a supervisor, with their last lines in memory.
class runner {
public:
    runner(const boost::asio::any_io_executor& ex, config how);

    // Waits until those that a runner before this one has left are gone, since they may hold its
    // ports; then makes the services' sockets, and starts them.
    boost::asio::awaitable<void> start();

    procyard::supervisor& supervisor() noexcept { return *supervisor_; }
    [[nodiscard]] std::string table() const;

    // What is asked for by `status`, `logs NAME`, `start NAME`, `stop NAME`, `restart NAME`,
    // `replace NAME`: the answer begins with `ok` or with `error: …`, in a line of its own.
    [[nodiscard]] std::string answer(std::string_view request);

    // `follow NAME`: the lines that are kept, and then each that comes, until the client goes.
    boost::asio::awaitable<void> follow(std::shared_ptr<procyard::unix_stream::socket> client,
                                        std::string name);

private:
    struct service_lines {
        explicit service_lines(const boost::asio::any_io_executor& ex)
            : news(ex, boost::asio::steady_timer::time_point::max())
        {
        }
        void keep(procyard::service_output from, std::string_view line);

        line_ring ring{};
        boost::asio::steady_timer news;  // never expires: waited for until it is cancelled
        std::uint64_t unwritten = 0;     // lines that its file could not take
    };

    void on_event(const procyard::service_event& event);
    void add(const service_config& one);
    [[nodiscard]] std::string act(std::string_view verb, const std::string& name);

    config how_;
    bool on_terminal_;
    boost::asio::any_io_executor executor_;
    // Shared with what is being written to a disk that takes its time.
    std::map<std::string, std::shared_ptr<service_lines>, std::less<>> lines_{};
    int followers_ = 0;
    std::deque<std::string> events_{};
    std::optional<procyard::guardian> guardian_{};
    std::unique_ptr<procyard::supervisor> supervisor_{};
};

}  // namespace supervise

#endif

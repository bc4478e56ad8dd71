// SPDX-License-Identifier: BSL-1.0
// What a user of procyard::runtime writes: a child, its exit status, and the error of one that
// cannot be started, which has to come through a library boundary as its own type.
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/spawn.hpp>
#include <procyard/runtime/spawn_error.hpp>

#include <boost/asio/io_context.hpp>

#include <cstdio>

int main()
{
    boost::asio::io_context ctx;
    auto child = procyard::spawn(procyard::command("true"), ctx.get_executor());
    bool success = false;
    child.async_wait([&](procyard::error_code ec, procyard::exit_status status) {
        success = !ec && status.success();
    });
    ctx.run();

    bool refused = false;
    try {
        static_cast<void>(
            procyard::spawn(procyard::command("/no/such/program"), ctx.get_executor()));
    } catch (const procyard::spawn_error& e) {
        std::printf("runtime consumer: %s\n", e.what());
        refused = e.code() == boost::system::errc::no_such_file_or_directory;
    }
    return success && refused ? 0 : 1;
}

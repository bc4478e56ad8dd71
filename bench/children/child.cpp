// SPDX-License-Identifier: BSL-1.0
//
// bench_child write bytes=N processor=P   writes N bytes to stdout, as fast as it can
// bench_child lines bytes=N processor=P   the same, 63 characters to a line
// bench_child sink processor=P            reads stdin until its end
//
// 128 KiB at a time is what coreutils use.

#include <algorithm>
#include <cerrno>
#include <vector>

#include <unistd.h>

#include "../support/round.hpp"

namespace {

constexpr std::size_t chunk_bytes = 128 * 1024;

void write_bytes(std::size_t bytes, bool lines)
{
    std::vector<char> chunk(chunk_bytes, 'x');
    if (lines)
        for (std::size_t at = 63; at < chunk.size(); at += 64)
            chunk[at] = '\n';
    while (bytes > 0) {
        const auto n = ::write(STDOUT_FILENO, chunk.data(), std::min(bytes, chunk.size()));
        if (n == -1 && errno == EINTR)
            continue;
        bench::require(n > 0, "write");
        bytes -= static_cast<std::size_t>(n);
    }
}

void read_to_end()
{
    std::vector<char> chunk(chunk_bytes);
    while (true) {
        const auto n = ::read(STDIN_FILENO, chunk.data(), chunk.size());
        if (n == -1 && errno == EINTR)
            continue;
        bench::require(n >= 0, "read");
        if (n == 0)
            return;
    }
}

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    bench::pin_to(options.number("processor", -1));
    const auto bytes = static_cast<std::size_t>(options.number("bytes", 0));
    if (options.command() == "write")
        write_bytes(bytes, false);
    else if (options.command() == "lines")
        write_bytes(bytes, true);
    else if (options.command() == "sink")
        read_to_end();
    else
        bench::require(false, "bench_child write | lines | sink");
}

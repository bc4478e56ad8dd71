// SPDX-License-Identifier: BSL-1.0
#include "stream_round.hpp"

namespace bench {

stream_round::stream_round(const round_options& options)
    : child_(options.text("child")),
      bytes_(static_cast<std::size_t>(options.number("bytes", 1L << 28))),
      read_bytes_(static_cast<std::size_t>(options.number("read_bytes", 65536))),
      pipe_bytes_(static_cast<std::size_t>(options.number("pipe_bytes", 0))),
      socket_(options.text("kind", "pipe") == "socket")
{
    pin_to(0);
}

std::vector<std::string> stream_round::writer_arguments() const
{
    return {"write", "bytes=" + std::to_string(bytes_), "processor=1"};
}

std::vector<std::string> stream_round::line_writer_arguments() const
{
    auto arguments = writer_arguments();
    arguments.front() = "lines";
    return arguments;
}

std::vector<std::string> stream_round::sink_arguments() const
{
    return {"sink", "processor=1"};
}

void stream_round::print() const
{
    const double us = now_us() - started_us_;
    require(moved_ == bytes_, "not every byte came through");
    report({{"gb_per_s", static_cast<double>(moved_) / us / 1e3}});
}

}  // namespace bench

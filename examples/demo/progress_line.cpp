// SPDX-License-Identifier: BSL-1.0
#include "progress_line.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "duration.hpp"
#include "raw_terminal.hpp"
#include "say.hpp"

namespace demo {

namespace {

// 1234567 -> 1,234,567
std::string grouped(std::size_t number)
{
    auto text = std::to_string(number);
    for (auto at = text.size(); at > 3;) {
        at -= 3;
        text.insert(at, 1, ',');
    }
    return text;
}

std::string rate_and_rest(std::uint64_t done, const progress& now, const workload& all)
{
    const double seconds = std::chrono::duration<double>(now.elapsed).count();
    const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
    auto text = fmt::format("  {}/s", format_bytes(rate));
    text += fmt::format("  {} stage{}", now.stages_running, now.stages_running == 1 ? "" : "s");
    // The first half second says little about the rest.
    if (seconds > 0.5 && rate > 0 && done < all.bytes()) {
        const double left = static_cast<double>(all.bytes() - done) / rate;
        text += fmt::format("  {} left", format_clock(std::chrono::seconds(std::lround(left))));
    }
    return text;
}

}  // namespace

void workload::add_file(std::uint64_t bytes)
{
    ends_.push_back(this->bytes() + bytes);
}

std::size_t workload::files_within(std::uint64_t bytes) const
{
    return static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), bytes)
                                    - ends_.begin());
}

std::string describe_survey(std::string_view directory, const workload& found)
{
    return fmt::format("looking for headers under {}: {} files", directory, grouped(found.files()));
}

std::string describe(const progress& now, const workload& all)
{
    if (!now.bytes_done)
        return fmt::format("{} files  {}  {} stages  {}", grouped(all.files()),
                           format_bytes(static_cast<double>(all.bytes())), now.stages_running,
                           format_duration(now.elapsed));
    // What the programs read beside the files (their libraries) counts a little too much.
    const auto done = std::min(*now.bytes_done, all.bytes());
    return fmt::format("{}/{} files  {} of {}", grouped(all.files_within(done)),
                       grouped(all.files()), format_bytes(static_cast<double>(done)),
                       format_bytes(static_cast<double>(all.bytes())))
        + rate_and_rest(done, now, all);
}

progress_line::progress_line() : terminal_(::isatty(STDERR_FILENO) == 1) { }

std::chrono::milliseconds progress_line::interval() const noexcept
{
    return std::chrono::milliseconds(terminal_ ? 100 : 2000);
}

void progress_line::show(std::string_view text)
{
    if (!terminal_) {
        say("{}\n", text);
        return;
    }
    // A line that wraps cannot be written over.
    const auto size = window_size_of(STDERR_FILENO);
    const std::size_t columns = size ? size->columns : 80u;
    say("\r{}\x1b[K", text.substr(0, columns - 1));
    std::fflush(stderr);
    shown_ = true;
}

void progress_line::clear()
{
    if (shown_) {
        say("\r\x1b[K");
        std::fflush(stderr);
    }
    shown_ = false;
}

void progress_line::print_above(std::string_view text)
{
    clear();
    say("{}\n", text);
}

}  // namespace demo

// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_ROTATING_FILE_HPP
#define PROCYARD_RUNTIME_ROTATING_FILE_HPP

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// When a log file is set aside, and how many are kept.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct rotation {
    /// Before it would be longer. A line is never divided: one that is longer than this is alone in
    /// its file.
    std::uint64_t most_bytes = std::uint64_t{10} * 1024 * 1024;
    /// After so long, with the first line that comes then. Default: never for its age.
    std::chrono::nanoseconds most_age = std::chrono::nanoseconds::max();
    /// Beside the one that is written: `web.log.1` is the youngest of them.
    unsigned keep = 5;
    mode_t mode = 0600;
    /// Measures the age; null: the machine's steady clock.
    std::shared_ptr<timer_clock> clock{};
};

/// A file that lines are appended to, and that is set aside when it is long or old. A copy is the
/// same file, so it can be a `service_log` itself, of several services.
///
/// What cannot be written (a full disk, a directory that is gone) is counted and forgotten; the
/// file is tried again with each line. A service never waits for its log.
/// @par Thread safety   Distinct objects: safe, but not on one path. Shared objects: unsafe.
/// @par Cost            A write for each line, into the page cache.
/// @par Example         @snippet examples/guide/supervising.cpp log
class PROCYARD_RUNTIME_EXPORT rotating_file {
public:
    /// Opens the file, or makes it: what is in it stays.
    /// @throws boost::system::system_error   it cannot be opened; the message has the path
    explicit rotating_file(std::filesystem::path path, rotation how = {});

    /// Appends the line and its end.
    void write(std::string_view line);
    /// As a `service_log`: which output it came from is not written.
    template <class Output>
    void operator()(Output, std::string_view line)
    {
        write(line);
    }

    /// Sets the file aside now and begins a new one.
    void rotate();

    /// How many lines could not be written.
    [[nodiscard]] std::uint64_t lost() const noexcept;

private:
    class state;
    std::shared_ptr<state> state_;
};

PROCYARD_NAMESPACE_END

#endif

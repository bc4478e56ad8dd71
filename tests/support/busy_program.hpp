// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_BUSY_PROGRAM_HPP
#define PROCYARD_TESTS_SUPPORT_BUSY_PROGRAM_HPP

#include <fcntl.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include <doctest/doctest.h>

#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/command.hpp>

#include "procyard_test.hpp"
#include "temporary_directory.hpp"

namespace procyard_test {

/// A program that is open for writing: its exec says ETXTBSY until `release()`. That holds a spawn
/// between the clone and the exec, for as long as its retries last: a rendez-vous inside of it.
class busy_program {
public:
    /// A copy of `program`.
    explicit busy_program(const std::filesystem::path& program = "/bin/cat")
        : path_(directory_.path() / "busy")
    {
        std::filesystem::copy_file(program, path_);
        writer_.reset(::open(path_.c_str(), O_WRONLY | O_CLOEXEC));
        REQUIRE(writer_);
    }

    /// `retries`: 10 are a second, 16 a minute.
    [[nodiscard]] procyard::command run(unsigned retries = 16) const
    {
        return procyard::command(path_.native()).text_busy_retries(retries);
    }

    void release() noexcept { writer_.reset(); }

private:
    temporary_directory directory_;
    std::filesystem::path path_;
    procyard::unique_fd writer_;
};

/// Gives way to other threads until the condition holds.
template <class Predicate>
void await(Predicate done)
{
    const auto end = std::chrono::steady_clock::now() + deadlock_guard;
    while (!done()) {
        REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, "hung");
        std::this_thread::yield();
    }
}

}  // namespace procyard_test

#endif

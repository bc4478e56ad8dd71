// SPDX-License-Identifier: BSL-1.0
// The parts of the helper program (helper.cpp, where the rules for a mode stand).
#ifndef PROCYARD_TESTS_SUPPORT_HELPER_HPP
#define PROCYARD_TESTS_SUPPORT_HELPER_HPP

#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

using helper_arguments = std::vector<std::string>;

struct helper_mode {
    std::string_view name;
    int (*run)(const helper_arguments&);
};

/// Modes that look at what the process was given: descriptors, signals, terminal, limits.
[[nodiscard]] std::span<const helper_mode> probe_modes();
/// Modes that speak to a supervisor as sd_notify(3) does.
[[nodiscard]] std::span<const helper_mode> notify_modes();
/// Modes that serve on what they were given to listen on.
[[nodiscard]] std::span<const helper_mode> serve_modes();
/// Modes that write, read, obey and hold streams.
[[nodiscard]] std::span<const helper_mode> stream_modes();

inline int helper_number(const helper_arguments& args, std::size_t index, int otherwise)
{
    return index < args.size() ? std::atoi(args[index].c_str()) : otherwise;
}

/// "WORD PID\n" in one write, so that lines of several processes never mix.
inline void helper_report(std::string_view word)
{
    std::string line(word);
    line += ' ';
    line += std::to_string(::getpid());
    line += '\n';
    if (::write(STDOUT_FILENO, line.data(), line.size()) == -1)
        ::_exit(99);
}

[[noreturn]] inline void helper_pause()
{
    for (;;)
        ::pause();
}

#endif

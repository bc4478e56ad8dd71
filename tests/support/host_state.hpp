// SPDX-License-Identifier: BSL-1.0
// A host that does what hosts do: handlers, ignored signals, masks, limits. Each is taken back at
// the end of its scope.
#ifndef PROCYARD_TESTS_SUPPORT_HOST_STATE_HPP
#define PROCYARD_TESTS_SUPPORT_HOST_STATE_HPP

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

namespace procyard_test {

/// The disposition of one signal.
class disposition {
public:
    disposition(int number, void (*handler)(int), int flags = 0) : number_(number)
    {
        struct sigaction action = {};
        action.sa_handler = handler;
        action.sa_flags = flags;
        REQUIRE(::sigaction(number, &action, &before_) == 0);
    }
    disposition(const disposition&) = delete;
    disposition& operator=(const disposition&) = delete;
    ~disposition() { ::sigaction(number_, &before_, nullptr); }

    /// What handles the signal now.
    static void (*current(int number))(int)
    {
        struct sigaction action = {};
        ::sigaction(number, nullptr, &action);
        return action.sa_handler;
    }

private:
    int number_;
    struct sigaction before_ = {};
};

/// The calling thread's mask.
class blocked_signals {
public:
    explicit blocked_signals(std::initializer_list<int> numbers)
    {
        sigset_t set;
        ::sigemptyset(&set);
        for (const int number : numbers)
            ::sigaddset(&set, number);
        ::pthread_sigmask(SIG_BLOCK, &set, &before_);
    }
    blocked_signals(const blocked_signals&) = delete;
    blocked_signals& operator=(const blocked_signals&) = delete;
    ~blocked_signals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_;
};

/// A soft limit.
class lowered_limit {
public:
    lowered_limit(int resource, rlim_t limit) : resource_(resource)
    {
        ::getrlimit(resource_type(resource), &before_);
        const rlimit lowered{limit, before_.rlim_max};
        REQUIRE(::setrlimit(resource_type(resource), &lowered) == 0);
    }
    lowered_limit(const lowered_limit&) = delete;
    lowered_limit& operator=(const lowered_limit&) = delete;
    ~lowered_limit() { ::setrlimit(resource_type(resource_), &before_); }

private:
#if defined(__GLIBC__) && defined(__USE_GNU)
    using resource_type = __rlimit_resource;
#else
    using resource_type = int;
#endif

    int resource_;
    rlimit before_{};
};

/// A variable of the environment; null: not set.
class variable {
public:
    variable(const char* name, const char* value) : name_(name)
    {
        if (const char* now = ::getenv(name))
            before_ = now;
        if (value != nullptr)
            ::setenv(name, value, 1);
        else
            ::unsetenv(name);
    }
    variable(const variable&) = delete;
    variable& operator=(const variable&) = delete;
    ~variable()
    {
        if (before_)
            ::setenv(name_, before_->c_str(), 1);
        else
            ::unsetenv(name_);
    }

private:
    const char* name_;
    std::optional<std::string> before_;
};

class current_directory {
public:
    explicit current_directory(const std::filesystem::path& to)
        : before_(std::filesystem::current_path())
    {
        std::filesystem::current_path(to);
    }
    current_directory(const current_directory&) = delete;
    current_directory& operator=(const current_directory&) = delete;
    ~current_directory() { std::filesystem::current_path(before_); }

private:
    std::filesystem::path before_;
};

/// The value of a line "NAME:\tVALUE" of a /proc/…/status; empty when there is none.
[[nodiscard]] inline std::string status_field(const std::string& status, std::string_view name)
{
    const auto at = ("\n" + status).find("\n" + std::string(name) + ":\t");
    if (at == std::string::npos)
        return {};
    const auto begin = at + name.size() + 2;
    return status.substr(begin, status.find('\n', begin) - begin);
}
/// The same for a mask, which the kernel prints in hexadecimal.
[[nodiscard]] inline std::uint64_t status_mask(const std::string& status, std::string_view name)
{
    const auto text = status_field(status, name);
    REQUIRE_FALSE(text.empty());
    return std::stoull(text, nullptr, 16);
}

[[nodiscard]] constexpr std::uint64_t signal_bit(int number) noexcept
{
    return std::uint64_t{1} << (number - 1);
}

}  // namespace procyard_test

#endif
